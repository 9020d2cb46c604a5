package payment_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/payment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func charge(minor int64) *paymentpb.ChargeRequest {
	return &paymentpb.ChargeRequest{Key: "k", Customer: "ada", Currency: "EUR", Minor: minor}
}

// However often a charge is tried, voided and tried again, on whatever day of the provider's: the money is taken once, and
// what was said once stays true.
func TestAKeyIsChargedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := payment.NewStore(new(kv.Memory))
		var day payment.Behaviour
		server := payment.NewServer(store, func() payment.Behaviour { return day })
		var final error
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			day = rapid.SampledFrom([]payment.Behaviour{{}, {DeclineRate: 1}, {FailRate: 1}, {LoseRate: 1}}).Draw(t, "day")
			if rapid.IntRange(0, 4).Draw(t, "do") == 0 {
				if _, err := server.Void(t.Context(), &paymentpb.VoidRequest{Key: "k"}); err != nil {
					t.Fatal(err)
				}
				if final == nil {
					final = shop.ErrVoided
				}
				// A declined charge that nobody was told of stays declined.
				if c, _ := store.Page(t.Context(), "", 10); c[0].State == payment.Declined {
					final = shop.ErrDeclined
				}
				continue
			}
			_, err := server.Charge(t.Context(), charge(100))
			switch {
			case errors.Is(err, failure.Unavailable):
			case final != nil && !errors.Is(err, final):
				t.Fatalf("first %v, then %v", final, err)
			case err != nil:
				final = err
			}
		}
		charges, err := store.Page(t.Context(), "", 10)
		if err != nil || len(charges) > 1 {
			t.Fatalf("%+v, %v", charges, err)
		}
		if final != nil && charges[0].State == payment.Captured {
			t.Fatalf("%v, and the money is taken", final)
		}
	})
}

func captured(key, card string) *paymentpb.ChargeRequest {
	return &paymentpb.ChargeRequest{Key: key, Customer: "ada", Currency: "EUR", Minor: 100, Card: card}
}

// Every charge that was captured and not voided ends, and its end is told: once, and as it is.
func TestACapturedChargeEndsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db := new(kv.Memory)
		server := payment.NewServer(payment.NewStore(db), func() payment.Behaviour { return payment.Behaviour{} })
		always := func() bool { return true }
		told := make(map[string]string)
		publish := func() {
			box := payment.NewOutbox(db)
			for range 2 { // taken out late: published again, and the same
				pending, err := box.Pending(t.Context(), outbox.Query{Limit: 100})
				if err != nil {
					t.Fatal(err)
				}
				var seqs []uint64
				for _, e := range pending {
					if was := told[e.Message.Key]; was != "" && was != e.Topic {
						t.Fatalf("%s is told to be %s and %s", e.Message.Key, was, e.Topic)
					}
					told[e.Message.Key] = e.Topic
					seqs = append(seqs, e.Seq)
				}
				if rapid.Bool().Draw(t, "taken out") {
					if err := box.Done(t.Context(), seqs); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			key := fmt.Sprintf("k%d", rapid.IntRange(0, 3).Draw(t, "key"))
			card := ""
			if key == "k3" {
				card = shop.CardThatFails
			}
			fault := shoptest.Crash(rapid.IntRange(0, 4).Draw(t, "dies at"), rapid.Bool().Draw(t, "after it"))
			frail := payment.NewStore(shoptest.KV{KV: db, Fault: fault})
			switch rapid.SampledFrom([]string{"charge", "charge", "void", "settle", "publish"}).Draw(t, "do") {
			case "charge":
				_, _ = payment.NewServer(frail, func() payment.Behaviour { return payment.Behaviour{} }).Charge(t.Context(), captured(key, card))
			case "void":
				_ = frail.Void(t.Context(), key)
			case "settle":
				_ = payment.NewSettler(frail, always, shoptest.Quiet()).Once(t.Context())
			case "publish":
				publish()
			}
		}
		if err := payment.NewSettler(payment.NewStore(db), always, shoptest.Quiet()).Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		publish()
		all, err := payment.NewStore(db).Page(t.Context(), "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			topic := told[c.Key]
			switch {
			case c.State == payment.Settled && topic == events.PaymentsSettled, c.State == payment.Failed && topic == events.PaymentsFailed:
			case c.State == payment.Voided && topic != events.PaymentsFailed: // settled before, or never
			default:
				t.Fatalf("%s is %s, and told to be %q", c.Key, c.State, topic)
			}
			card := ""
			if c.Key == "k3" {
				card = shop.CardThatFails
			}
			resp, err := server.Charge(t.Context(), captured(c.Key, card))
			if settled := c.State == payment.Settled; (err == nil) != settled || resp.GetSettled() != settled {
				t.Fatalf("%s is %s: %v, %v", c.Key, c.State, resp, err)
			}
		}
		if due, err := payment.NewStore(db).Due(t.Context(), time.Now().Add(time.Hour), 100); err != nil || len(due) != 0 {
			t.Fatalf("%v are still due, %v", due, err)
		}
	})
}

// Between the look what is due and its settlement, a charge may have been voided.
func TestAVoidedChargeIsNotSettled(t *testing.T) {
	db := new(kv.Memory)
	store := payment.NewStore(db)
	server := payment.NewServer(store, func() payment.Behaviour { return payment.Behaviour{} })
	if _, err := server.Charge(t.Context(), captured("k", "")); err != nil {
		t.Fatal(err)
	}
	due, err := store.Due(t.Context(), time.Now(), 10)
	if err != nil || len(due) != 1 || due[0] != "k" {
		t.Fatalf("%v, %v", due, err)
	}
	if err := errors.Join(store.Void(t.Context(), "k"), store.Settle(t.Context(), "k", time.Now()), store.Settle(t.Context(), "none", time.Now())); err != nil {
		t.Fatal(err)
	}
	all, err := store.Page(t.Context(), "", 10)
	if err != nil || len(all) != 1 || all[0].State != payment.Voided {
		t.Fatalf("%+v, %v", all, err)
	}
	if pending, err := payment.NewOutbox(db).Pending(t.Context(), outbox.Query{Limit: 10}); err != nil || len(pending) != 0 {
		t.Fatalf("%+v, %v", pending, err)
	}
}

func TestAChargeIsSettledInItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(kv.Memory)
		store := payment.NewStore(db)
		server := payment.NewServer(store, func() payment.Behaviour { return payment.Behaviour{SettleMS: 5000} })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- payment.NewSettler(store, func() bool { return true }, shoptest.Quiet()).Run(ctx) }()
		if resp, err := server.Charge(t.Context(), captured("k", "")); err != nil || resp.GetSettled() {
			t.Fatalf("%v, %v", resp, err)
		}
		time.Sleep(4 * time.Second)
		if resp, err := server.Charge(t.Context(), captured("k", "")); err != nil || resp.GetSettled() {
			t.Errorf("early: %v, %v", resp, err)
		}
		time.Sleep(2 * time.Second)
		if resp, err := server.Charge(t.Context(), captured("k", "")); err != nil || !resp.GetSettled() {
			t.Errorf("late: %v, %v", resp, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A charge that is due in an hour was captured by the clock of an instance that is an hour ahead. It does not wait that long,
// however many are before it.
func TestAChargeOfAClockThatIsAheadIsSettled(t *testing.T) {
	store := payment.NewStore(new(kv.Memory))
	now := time.Now()
	for key, due := range map[string]time.Duration{"ahead": time.Hour, "long": time.Minute, "short": time.Second, "now": 0} {
		if _, _, err := store.Charge(t.Context(), key, payment.Charge{State: payment.Captured, Due: now.Add(due)}); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[int]string{1: "[now]", 2: "[now ahead]", 3: "[now ahead]", 500: "[now ahead]"} {
		if due, err := store.Due(t.Context(), now, limit); err != nil || fmt.Sprint(due) != want {
			t.Errorf("of at most %d: %v, %v; want %s", limit, due, err, want)
		}
	}
	if err := payment.NewSettler(store, func() bool { return true }, shoptest.Quiet()).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := store.Page(t.Context(), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if over := c.Key == "now" || c.Key == "ahead"; over != (c.State == payment.Settled) {
			t.Errorf("%s is %s", c.Key, c.State)
		}
	}
}

// A charge of the version before, which was never to be settled, is when somebody asks for it again.
func TestAChargeOfTheVersionBeforeIsSettled(t *testing.T) {
	db := new(kv.Memory)
	old, err := kv.Put("shop/payment/charges/k", map[string]any{"customer": "ada", "currency": "EUR", "minor": 100, "state": "captured"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Commit(t.Context(), kv.Txn{Put: []kv.Entry{old}}); err != nil {
		t.Fatal(err)
	}
	store := payment.NewStore(db)
	server := payment.NewServer(store, func() payment.Behaviour { return payment.Behaviour{} })
	settler := payment.NewSettler(store, func() bool { return true }, shoptest.Quiet())
	for i, want := range []bool{false, true} {
		if resp, err := server.Charge(t.Context(), charge(100)); err != nil || resp.GetSettled() != want {
			t.Fatalf("%d: %v, %v", i, resp, err)
		}
		if err := settler.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAKeyStandsForOneAmount(t *testing.T) {
	server := payment.NewServer(payment.NewStore(new(kv.Memory)), func() payment.Behaviour { return payment.Behaviour{} })
	if _, err := server.Charge(t.Context(), charge(100)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Charge(t.Context(), charge(200)); !errors.Is(err, shop.ErrKeyReused) {
		t.Fatal(err)
	}
	if _, err := server.Charge(t.Context(), charge(0)); !errors.Is(err, failure.InvalidArgument) {
		t.Fatal(err)
	}
}

func TestTheProviderTakesItsTimeOnceForACharge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := payment.NewServer(payment.NewStore(new(kv.Memory)), func() payment.Behaviour { return payment.Behaviour{LatencyMS: 3000} })
		start := time.Now()
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := server.Charge(hasty, charge(100)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if _, err := server.Charge(t.Context(), charge(100)); err != nil || time.Since(start) != time.Second {
			t.Fatalf("again: %v after %v", err, time.Since(start))
		}
		other := charge(100)
		other.Key = "other"
		if _, err := server.Charge(t.Context(), other); err != nil || time.Since(start) != 4*time.Second {
			t.Fatalf("another: %v after %v", err, time.Since(start))
		}
	})
}

// The behaviour is set through the API and reaches every instance.
func TestBehaviourIsSetWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(kv.Memory)
		here := payment.NewControl(db, kv.OpenView[payment.Behaviour](db, payment.BehaviourPrefix, "", shoptest.Quiet()))
		view := kv.OpenView[payment.Behaviour](db, payment.BehaviourPrefix, "", shoptest.Quiet())
		there := payment.NewControl(db, view)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- view.Run(ctx) }()
		defer func() { cancel(); <-done }()

		if w := admin(here, http.MethodPut, `{"fail_rate":0.5}`); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		synctest.Wait()
		if b := there.Behaviour(); b.FailRate != 0.5 || b.LatencyMS != payment.DefaultBehaviour().LatencyMS {
			t.Fatalf("%+v", b)
		}
	})
}

// A behaviour that hung in a frozen member of the store does not come back when it thaws.
func TestABehaviourThatComesLateChangesNothing(t *testing.T) {
	db := &shoptest.Thawing{KV: new(kv.Memory)}
	control := payment.NewControl(db, kv.OpenView[payment.Behaviour](db, payment.BehaviourPrefix, "", shoptest.Quiet()))
	for _, rate := range []float64{1, 0} {
		if err := control.Set(t.Context(), payment.Behaviour{FailRate: rate}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := db.List(t.Context(), kv.Range{Prefix: payment.BehaviourPrefix})
	if err != nil || len(page.Entries) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	var now payment.Behaviour
	if err := page.Entries[0].Decode(&now); err != nil || now.FailRate != 0 {
		t.Errorf("%+v, %v", now, err)
	}
}

func TestWrongBehaviourIsRefused(t *testing.T) {
	db := new(kv.Memory)
	control := payment.NewControl(db, kv.OpenView[payment.Behaviour](db, payment.BehaviourPrefix, "", shoptest.Quiet()))
	for _, body := range []string{`{"fail_rate":2}`, `{"latency_ms":-1}`, `{"fail_rat":1}`, `{`, `[]`, ``} {
		if w := admin(control, http.MethodPut, body); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if w := admin(control, http.MethodGet, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"latency_ms"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func admin(c *payment.Control, method, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	payment.NewAdmin(c).ServeHTTP(w, httptest.NewRequest(method, "/admin/behaviour", strings.NewReader(body)))
	return w
}

func FuzzBehaviour(f *testing.F) {
	f.Add(`{"latency_ms":5,"fail_rate":0.5}`)
	f.Add(`{"latency_ms":1e400}`)
	db := new(kv.Memory)
	control := payment.NewControl(db, kv.OpenView[payment.Behaviour](db, payment.BehaviourPrefix, "", shoptest.Quiet()))
	f.Fuzz(func(t *testing.T, body string) {
		if w := admin(control, http.MethodPut, body); w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}
