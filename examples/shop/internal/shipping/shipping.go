// Package shipping is the service that sends a parcel for each order that is paid. Nobody calls it for that: it listens to
// orders.paid.
//
// A parcel that goes out twice is money lost, and a message may come twice. So the parcel itself is the mark that the
// order is shipped: parcel and mark are written in one transaction, on condition that there is no mark. That is safer than
// a list of messages that were handled (an inbox), since it also holds for an order that somebody tells of with another
// message, and it costs nothing: the record is needed anyway. A real carrier would be given the label as the key under
// which it takes an order once.
package shipping

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/eventspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
)

// Parcel is what was sent for an order.
type Parcel struct {
	Label   string    `json:"label"`
	Order   string    `json:"order"`
	Lines   []Line    `json:"lines"`
	Shipped time.Time `json:"shipped"`
}

// Line is a quantity of one product.
type Line struct {
	Product  string `json:"product"`
	Quantity int32  `json:"quantity"`
}

// Where parcels lie in the store. That an order has one and which is another entry, so that there could be two parcels of
// one order if the condition did not hold, and an audit would show them.
const (
	parcelPrefix = "shop/shipping/parcels/" // by label
	orderPrefix  = "shop/shipping/orders/"  // by order: the parcel
)

// Store keeps parcels.
type Store struct{ db kv.KV }

// NewStore returns a Store on db.
func NewStore(db kv.KV) *Store { return &Store{db} }

// Ship sends a parcel unless the order has one.
func (s *Store) Ship(ctx context.Context, p Parcel) error {
	return kv.Update(ctx, s.db, func(ctx context.Context) (kv.Txn, error) {
		read, err := s.db.Get(ctx, orderPrefix+p.Order)
		if err != nil || read[0].Exists() {
			return kv.Txn{}, err
		}
		mark, err := kv.Put(read[0].Key, p)
		if err != nil {
			return kv.Txn{}, err
		}
		parcel, err := kv.Put(parcelPrefix+p.Label, p)
		return kv.Txn{If: []kv.Condition{read[0].Unchanged()}, Put: []kv.Entry{mark, parcel}}, err
	})
}

// Of returns the parcels of those of the orders that have one.
func (s *Store) Of(ctx context.Context, orders []string) ([]Parcel, error) {
	keys := make([]string, len(orders))
	for i, order := range orders {
		keys[i] = orderPrefix + order
	}
	read, err := s.db.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	return decode(read)
}

// Page returns up to limit parcels in the order of their labels, those behind the label after.
func (s *Store) Page(ctx context.Context, after string, limit int) ([]Parcel, error) {
	r := kv.Range{Prefix: parcelPrefix, Limit: limit}
	if after != "" {
		r.After = parcelPrefix + after
	}
	page, err := s.db.List(ctx, r)
	if err != nil {
		return nil, err
	}
	return decode(page.Entries)
}

func decode(entries []kv.Entry) ([]Parcel, error) {
	var out []Parcel
	for _, e := range entries {
		if !e.Exists() {
			continue
		}
		var p Parcel
		if err := e.Decode(&p); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// Server implements the Shipping service, and what it does with messages.
type Server struct {
	shippingpb.UnimplementedShippingServer
	store *Store
}

// NewServer returns the service.
func NewServer(store *Store) *Server { return &Server{store: store} }

// Paid is the handler of orders.paid.
func (s *Server) Paid(ctx context.Context, m queue.Message[*eventspb.OrderPaid]) error {
	var check shop.Check
	if !check.ID("order", m.Value.GetOrder()) {
		return check.Err()
	}
	// A label is for each time that a message is handled, not for each order: what is done twice must show.
	p := Parcel{Label: rand.Text()[:16], Order: m.Value.GetOrder(), Shipped: time.Now()}
	for _, line := range m.Value.GetLines() {
		p.Lines = append(p.Lines, Line{line.GetProduct(), line.GetQuantity()})
	}
	return s.store.Ship(ctx, p)
}

// maxOrders bounds a Get.
const maxOrders = 100

// Get implements shippingpb.ShippingServer.
func (s *Server) Get(ctx context.Context, req *shippingpb.GetRequest) (*shippingpb.GetResponse, error) {
	if len(req.GetOrders()) > maxOrders {
		return nil, failure.New(failure.InvalidArgument, "at most %d orders", maxOrders)
	}
	var check shop.Check
	for i, order := range req.GetOrders() {
		check.ID(shop.ItemField("orders", i, "id"), order)
	}
	if err := check.Err(); err != nil {
		return nil, err
	}
	parcels, err := s.store.Of(ctx, req.GetOrders())
	if err != nil {
		return nil, err
	}
	return &shippingpb.GetResponse{Parcels: wire(parcels)}, nil
}

// Audit implements shippingpb.ShippingServer.
func (s *Server) Audit(ctx context.Context, req *shippingpb.AuditRequest) (*shippingpb.AuditResponse, error) {
	const maxLimit = 500
	limit := int(req.GetLimit())
	if limit <= 0 || limit > maxLimit {
		limit = maxLimit
	}
	parcels, err := s.store.Page(ctx, req.GetAfter(), limit)
	if err != nil {
		return nil, err
	}
	return &shippingpb.AuditResponse{Parcels: wire(parcels)}, nil
}

func wire(parcels []Parcel) []*shippingpb.Parcel {
	out := make([]*shippingpb.Parcel, len(parcels))
	for i, p := range parcels {
		out[i] = &shippingpb.Parcel{Label: p.Label, Order: p.Order, ShippedUnixMs: p.Shipped.UnixMilli()}
		for _, line := range p.Lines {
			out[i].Lines = append(out[i].Lines, &shippingpb.Line{Product: line.Product, Quantity: line.Quantity})
		}
	}
	return out
}
