package payment

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rest"
)

// Behaviour is how the provider behaves. Rates are from 0 (never) to 1 (always).
type Behaviour struct {
	LatencyMS   int     `json:"latency_ms"`   // of every new charge
	JitterMS    int     `json:"jitter_ms"`    // at most so much on top
	DeclineRate float64 `json:"decline_rate"` // new charges refused for good
	FailRate    float64 `json:"fail_rate"`    // charges that fail without having happened
	LoseRate    float64 `json:"lose_rate"`    // charges that happen, but the answer is an error
	SettleMS    int     `json:"settle_ms"`    // from the capture of a new charge to its end
}

// DefaultBehaviour is a provider on a good day.
func DefaultBehaviour() Behaviour { return Behaviour{LatencyMS: 15, JitterMS: 20, SettleMS: 500} }

// maxMS bounds each of the times.
const maxMS = 60_000

func (b Behaviour) check() error {
	var check shop.Check
	check.That(b.LatencyMS >= 0 && b.LatencyMS <= maxMS, "latency_ms", "must be 0 to %d", maxMS)
	check.That(b.JitterMS >= 0 && b.JitterMS <= maxMS, "jitter_ms", "must be 0 to %d", maxMS)
	check.That(b.SettleMS >= 0 && b.SettleMS <= maxMS, "settle_ms", "must be 0 to %d", maxMS)
	check.That(b.DeclineRate >= 0 && b.DeclineRate <= 1, "decline_rate", "must be 0 to 1")
	check.That(b.FailRate >= 0 && b.FailRate <= 1, "fail_rate", "must be 0 to 1")
	check.That(b.LoseRate >= 0 && b.LoseRate <= 1, "lose_rate", "must be 0 to 1")
	return check.Err()
}

// BehaviourPrefix is where the behaviour lies in the store, for all instances.
const (
	BehaviourPrefix = "shop/payment/behaviour/"
	behaviourName   = "current"
)

// Control reads and sets the provider's behaviour.
type Control struct {
	db   kv.KV
	view *kv.View[Behaviour]
}

// NewControl returns a control that writes to db and follows it with view, a view of BehaviourPrefix.
func NewControl(db kv.KV, view *kv.View[Behaviour]) *Control { return &Control{db, view} }

// Behaviour returns the present behaviour, from memory.
func (c *Control) Behaviour() Behaviour {
	if b, ok := c.view.Get(behaviourName); ok {
		return b
	}
	return DefaultBehaviour()
}

// Set sets the behaviour of all instances. They follow within moments.
func (c *Control) Set(ctx context.Context, b Behaviour) error {
	put, err := kv.Put(BehaviourPrefix+behaviourName, b)
	if err != nil {
		return err
	}
	// On condition that nothing else was written meanwhile: what hung in a frozen member of the store and was made again elsewhere
	// is carried out there when it thaws, however late.
	return kv.Update(ctx, c.db, func(ctx context.Context) (kv.Txn, error) {
		read, err := c.db.Get(ctx, put.Key)
		if err != nil {
			return kv.Txn{}, err
		}
		return kv.Txn{If: []kv.Condition{read[0].Unchanged()}, Put: []kv.Entry{put}}, nil
	})
}

// NewAdmin returns the REST API of the provider's control room:
//
//	GET /admin/behaviour
//	PUT /admin/behaviour   {"latency_ms", "jitter_ms", "decline_rate", "fail_rate", "lose_rate",
//	                        "settle_ms"}; what is left out stays
func NewAdmin(control *Control) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, b Behaviour) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b)
	}
	mux.HandleFunc("GET /admin/behaviour", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, control.Behaviour())
	})
	mux.HandleFunc("PUT /admin/behaviour", func(w http.ResponseWriter, r *http.Request) {
		b := control.Behaviour()
		in := json.NewDecoder(r.Body)
		in.DisallowUnknownFields()
		if err := in.Decode(&b); err != nil {
			rest.Error(w, r, failure.Wrap(err, failure.InvalidArgument, "the body is not a behaviour: %v", err))
			return
		}
		if err := b.check(); err != nil {
			rest.Error(w, r, err)
			return
		}
		if err := control.Set(r.Context(), b); err != nil {
			rest.Error(w, r, err)
			return
		}
		answer(w, b)
	})
	return mux
}
