// Package orders is the service that takes orders from the cart to the sale. [Status] has the way of an order and what
// a crash on it leaves behind; [Process] goes that way; [Recovery] picks up what was left.
package orders

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/failure"
)

// Server implements the Orders service.
type Server struct {
	orderspb.UnimplementedOrdersServer
	store   Store
	catalog catalogpb.CatalogClient
	process *Process
}

// NewServer returns the service. Prices come from catalog.
func NewServer(store Store, catalog catalogpb.CatalogClient, process *Process) *Server {
	return &Server{store: store, catalog: catalog, process: process}
}

// Place implements orderspb.OrdersServer. A key is an order: its record is made by compare-and-swap, and every repetition goes
// on where the record says. That is more than package idempotency would give, whose records are beside the effect and
// not the effect itself; a service whose handlers cannot go on half-way puts rpc.Deduplicate in front of them.
func (s *Server) Place(ctx context.Context, req *orderspb.PlaceRequest) (*orderspb.PlaceResponse, error) {
	if err := checkPlace(req); err != nil {
		return nil, err
	}
	o, err := s.begin(ctx, req)
	if err != nil {
		return nil, err
	}
	if !o.asks(req) {
		return nil, shop.ErrKeyReused
	}
	o, err = s.process.Finish(ctx, o)
	switch o.Status {
	case Placed, Paid, Confirmed:
		// That is what was asked for: the rest is done by whoever is told of the payment.
		return &orderspb.PlaceResponse{Order: o.wire()}, nil
	case Undoing, Rejected:
		if o.Placed {
			return &orderspb.PlaceResponse{Order: o.wire()}, nil // the customer has it, and sees what became of it
		}
		return nil, o.rejection()
	case Pending, Reserved:
	}
	return nil, err
}

// begin returns the order that req's key stands for, creating it if there is none.
func (s *Server) begin(ctx context.Context, req *orderspb.PlaceRequest) (*Order, error) {
	id := orderID(req.GetIdempotencyKey())
	o, err := s.store.Load(ctx, id)
	if failure.CodeOf(err) != failure.NotFound {
		return o, err
	}
	ids := make([]string, len(req.GetItems()))
	for i, item := range req.GetItems() {
		ids[i] = item.GetProduct()
	}
	resp, err := s.catalog.Get(ctx, &catalogpb.GetRequest{Ids: ids})
	if err != nil {
		return nil, err
	}
	products := make(map[string]*catalogpb.Product, len(ids))
	for _, p := range resp.GetProducts() {
		products[p.GetId()] = p
	}
	now := time.Now()
	o = &Order{ID: id, Customer: req.GetCustomer(), Card: req.GetCard(), Status: Pending, Created: now, Updated: now}
	for _, item := range req.GetItems() {
		p, ok := products[item.GetProduct()]
		if !ok {
			return nil, shop.NoProduct(item.GetProduct())
		}
		o.Currency = p.GetPrice().GetCurrency()
		o.Total += p.GetPrice().GetMinor() * int64(item.GetQuantity())
		o.Lines = append(o.Lines, Line{p.GetId(), p.GetName(), item.GetQuantity(), p.GetPrice().GetMinor()})
	}
	return s.store.Create(ctx, o)
}

// Get implements orderspb.OrdersServer.
func (s *Server) Get(ctx context.Context, req *orderspb.GetRequest) (*orderspb.GetResponse, error) {
	var check shop.Check
	if !check.ID("id", req.GetId()) {
		return nil, check.Err()
	}
	o, err := s.store.Load(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &orderspb.GetResponse{Order: o.wire()}, nil
}

// List implements orderspb.OrdersServer.
func (s *Server) List(ctx context.Context, req *orderspb.ListRequest) (*orderspb.ListResponse, error) {
	const defaultLimit, maxLimit = 20, 100
	var check shop.Check
	check.ID("customer", req.GetCustomer())
	check.That(req.GetLimit() >= 0 && req.GetLimit() <= maxLimit, "limit", "must be 1 to %d", maxLimit)
	if err := check.Err(); err != nil {
		return nil, err
	}
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = defaultLimit
	}
	found, err := s.store.OfCustomer(ctx, req.GetCustomer(), limit)
	if err != nil {
		return nil, err
	}
	return &orderspb.ListResponse{Orders: wireAll(found)}, nil
}

// Audit implements orderspb.OrdersServer.
func (s *Server) Audit(ctx context.Context, req *orderspb.AuditRequest) (*orderspb.AuditResponse, error) {
	const maxLimit = 500
	limit := int(req.GetLimit())
	if limit <= 0 || limit > maxLimit {
		limit = maxLimit
	}
	found, err := s.store.Page(ctx, req.GetAfter(), limit)
	if err != nil {
		return nil, err
	}
	return &orderspb.AuditResponse{Orders: wireAll(found)}, nil
}

func wireAll(orders []*Order) []*orderspb.Order {
	out := make([]*orderspb.Order, len(orders))
	for i, o := range orders {
		out[i] = o.wire()
	}
	return out
}

// checkPlace names fields as the shop's REST API does: the gateway hands them on as they are.
func checkPlace(req *orderspb.PlaceRequest) error {
	var check shop.Check
	check.That(isKey(req.GetIdempotencyKey()), "Idempotency-Key", "must be 1 to 255 visible ASCII characters, different for every order")
	check.ID("customer", req.GetCustomer())
	if req.GetCard() != "" {
		check.ID("card", req.GetCard())
	}
	if check.Items("items", len(req.GetItems())) {
		seen := make(map[string]bool, len(req.GetItems()))
		for i, item := range req.GetItems() {
			product := shop.ItemField("items", i, "product")
			check.ID(product, item.GetProduct())
			check.That(!seen[item.GetProduct()], product, "is in the list twice")
			seen[item.GetProduct()] = true
			check.That(item.GetQuantity() >= 1 && item.GetQuantity() <= shop.MaxQuantity, shop.ItemField("items", i, "quantity"), "must be 1 to %d", shop.MaxQuantity)
		}
	}
	return check.Err()
}

func isKey(key string) bool {
	if key == "" || len(key) > 255 {
		return false
	}
	for i := range len(key) {
		if key[i] < '!' || key[i] > '~' {
			return false
		}
	}
	return true
}
