// Package notifications is the service that tells customers what becomes of their orders. It listens to what orders
// publishes.
//
// Telling somebody twice is a nuisance, not a loss, and what tells them is outside: no transaction of ours reaches into
// it. So what was sent is written down with the order, by event, on condition that nothing else was written meanwhile, and
// the sending is part of that write here: a real provider would be given the event's id as the key under which it sends
// once, before the write. That way what comes again is sent again at most to a provider that knows it already.
//
// Its instances keep nothing: the record is in etcd, for a week, and two of them are enough. While etcd is away, messages wait.
package notifications

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/gen/eventspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/notificationspb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/queue"
)

// Told is what a customer was told of an order: no more than there are topics.
type Told []string

// Sent is a message that went out.
type Sent struct {
	Order    string `json:"order"`
	Customer string `json:"customer"`
	About    string `json:"about"` // placed, paid, cancelled
}

// Where it lies in the store. Each message has an entry of its own, so that one that went out twice would show.
const (
	toldPrefix = "shop/notifications/told/" // by order
	sentPrefix = "shop/notifications/sent/" // by id
)

// Keep is how long it is known what was sent, or somewhat longer: etcd, which keeps much more than this, has no room for all that
// ever was. It is longer than any message is on its way; one that comes later than that is sent again.
const Keep = 7 * 24 * time.Hour

// Service implements the Notifications service, and what it does with messages.
type Service struct {
	notificationspb.UnimplementedNotificationsServer
	db kv.KV
}

// New returns a service that keeps what it has sent in db.
func New(db kv.KV) *Service { return &Service{db: db} }

// Placed is the handler of orders.placed.
func (s *Service) Placed(ctx context.Context, m queue.Message[*eventspb.OrderPlaced]) error {
	return s.tell(ctx, m.Value.GetOrder(), m.Value.GetCustomer(), events.About(events.OrdersPlaced))
}

// Paid is the handler of orders.paid.
func (s *Service) Paid(ctx context.Context, m queue.Message[*eventspb.OrderPaid]) error {
	return s.tell(ctx, m.Value.GetOrder(), m.Value.GetCustomer(), events.About(events.OrdersPaid))
}

// Cancelled is the handler of orders.cancelled.
func (s *Service) Cancelled(ctx context.Context, m queue.Message[*eventspb.OrderCancelled]) error {
	return s.tell(ctx, m.Value.GetOrder(), m.Value.GetCustomer(), events.About(events.OrdersCancelled))
}

func (s *Service) tell(ctx context.Context, order, customer, about string) error {
	var check shop.Check
	if !check.ID("order", order) {
		return check.Err()
	}
	id := rand.Text()[:16]
	return kv.Update(ctx, s.db, func(ctx context.Context) (kv.Txn, error) {
		read, err := s.db.Get(ctx, toldPrefix+order)
		if err != nil {
			return kv.Txn{}, err
		}
		var told Told
		if read[0].Exists() {
			if err := read[0].Decode(&told); err != nil {
				return kv.Txn{}, err
			}
		}
		if slices.Contains(told, about) {
			return kv.Txn{}, nil
		}
		mark, err := kv.Put(read[0].Key, append(told, about))
		if err != nil {
			return kv.Txn{}, err
		}
		sent, err := kv.Put(sentPrefix+id, Sent{order, customer, about})
		return kv.Txn{If: []kv.Condition{read[0].Unchanged()}, Put: []kv.Entry{mark, sent}, Keep: Keep}, err
	})
}

// Audit implements notificationspb.NotificationsServer.
func (s *Service) Audit(ctx context.Context, req *notificationspb.AuditRequest) (*notificationspb.AuditResponse, error) {
	const maxLimit = 500
	r := kv.Range{Prefix: sentPrefix, Limit: int(req.GetLimit())}
	if r.Limit <= 0 || r.Limit > maxLimit {
		r.Limit = maxLimit
	}
	if req.GetAfter() != "" {
		r.After = sentPrefix + req.GetAfter()
	}
	page, err := s.db.List(ctx, r)
	if err != nil {
		return nil, err
	}
	resp := &notificationspb.AuditResponse{}
	for _, e := range page.Entries {
		var sent Sent
		if err := e.Decode(&sent); err != nil {
			return nil, err
		}
		resp.Sent = append(resp.Sent, &notificationspb.Sent{
			Id: strings.TrimPrefix(e.Key, sentPrefix), Order: sent.Order, Customer: sent.Customer, About: sent.About,
		})
	}
	return resp, nil
}
