package payment_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/payment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
	"github.com/holdfast-go/holdfast/failure"
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
