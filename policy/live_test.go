package policy_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

func TestLiveVersionsChangeWithThePolicy(t *testing.T) {
	var none *policy.Live
	if s, v := none.Service("orders"); s != nil || v != 0 || none.Version() != 0 || none.Names() != nil {
		t.Error("a nil Live has policies")
	}
	l := policy.NewLive(map[string]policy.Service{"orders": {Serves: policy.Serves{Timeout: time.Second}}})
	_, first := l.Service("orders")
	l.Set("carts", policy.Service{})
	if _, v := l.Service("orders"); v != first {
		t.Error("the change of another policy changed this one's version")
	}
	l.Set("orders", policy.Service{Serves: policy.Serves{Timeout: 2 * time.Second}})
	s, second := l.Service("orders")
	if second == first || s.Serves.Timeout != 2*time.Second {
		t.Errorf("version %d after %d, %+v", second, first, s)
	}
	if got := l.Names(); !slices.Equal(got, []string{"carts", "orders"}) {
		t.Errorf("names %v", got)
	}
	before := l.Version()
	l.Delete("orders")
	if s, v := l.Service("orders"); s != nil || v != 0 || l.Version() == before {
		t.Error("a deleted policy is there, or its deletion has no version")
	}
	l.Set("orders", policy.Service{})
	if _, v := l.Service("orders"); v == first || v == second {
		t.Error("a policy that is back has a version that there was")
	}
}

func TestLiveIsReadWithoutAllocation(t *testing.T) {
	l := policy.NewLive(map[string]policy.Service{"orders": {}})
	if n := testing.AllocsPerRun(100, func() { l.Service("orders"); l.Version() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLiveIsSafeForConcurrentUse(t *testing.T) {
	l := policy.NewLive(nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 100 {
				l.Set("orders", policy.Service{Serves: policy.Serves{Timeout: time.Duration(i)}})
				l.Delete("carts")
			}
		})
		wg.Go(func() {
			var last uint64
			for range 100 {
				if v := l.Version(); v < last {
					t.Errorf("version %d after %d", v, last)
				} else {
					last = v
				}
				l.Service("orders")
			}
		})
	}
	wg.Wait()
	if l.Version() < 800 {
		t.Errorf("version %d after 800 changes", l.Version())
	}
}

func TestOverlay(t *testing.T) {
	base := policy.Service{Calls: policy.Calls{
		Policy:  resilience.Policy{Timeout: time.Second, MaxAttempts: 2, Breaker: &resilience.BreakerPolicy{Calls: 7}},
		Methods: map[string]policy.Method{"/a.B/C": {Safe: policy.SafeAlways, Timeout: time.Second}, "/a.B/D": {MaxAttempts: 1}},
	}}
	over := policy.Service{Calls: policy.Calls{
		Policy:  resilience.Policy{MaxAttempts: 5, Hedge: resilience.HedgePolicy{Share: -1}},
		Methods: map[string]policy.Method{"/a.B/C": {Safe: policy.SafeNever}, "/a.B/E": {MaxAttempts: 3}},
	}}
	got := policy.Overlay(base, over).Calls
	if got.Policy.Timeout != time.Second || got.Policy.MaxAttempts != 5 || got.Policy.Hedge.Share != -1 || got.Policy.Breaker.Calls != 7 {
		t.Errorf("policy %+v", got.Policy)
	}
	want := map[string]policy.Method{
		"/a.B/C": {Safe: policy.SafeNever, Timeout: time.Second}, "/a.B/D": {MaxAttempts: 1}, "/a.B/E": {MaxAttempts: 3},
	}
	for name, m := range want {
		if got.Methods[name] != m {
			t.Errorf("%s: %+v, want %+v", name, got.Methods[name], m)
		}
	}
	if len(got.Methods) != 3 || len(base.Calls.Methods) != 2 || base.Calls.Methods["/a.B/C"].Safe != policy.SafeAlways {
		t.Error("an argument was changed, or a method came from nowhere")
	}
}

// Only by saying something else of it can a source take back that a lower one has switched something off.
func TestOverlayTakesBackWhatIsOff(t *testing.T) {
	parse := func(document string) policy.Service {
		s, err := policy.Parse("test", []byte(document))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	code := parse("calls: {balance: {ejection: {consecutive: 3}}}\nserves: {admission: {queue: 10}}")
	off := policy.Overlay(code, parse("calls: {balance: {ejection: off}}\nserves: {admission: off}"))
	if e, a := off.Calls.Balance.Ejection, off.Serves.Admission; !e.Off || e.Consecutive != 3 || !a.Off || a.Queue != 10 {
		t.Errorf("off: %+v, %+v", e, a)
	}
	silent := policy.Overlay(off, parse("calls: {timeout: 1s, balance: {policy: hcl}}\nserves: {timeout: 1s}"))
	if !silent.Calls.Balance.Ejection.Off || !silent.Serves.Admission.Off {
		t.Error("a source that says nothing of them has switched them on")
	}
	on := policy.Overlay(off, parse("calls: {balance: {ejection: {max_share: 0.2}}}\nserves: {admission: {max_limit: 50}}"))
	if e, a := on.Calls.Balance.Ejection, on.Serves.Admission; e.Off || e.Consecutive != 3 || e.MaxShare != 0.2 || a.Off || a.Queue != 10 || a.MaxLimit != 50 {
		t.Errorf("on again: %+v, %+v", e, a)
	}
}

func TestOverlayOfABreakerIsKeyByKey(t *testing.T) {
	code := resilience.Policy{Breaker: &resilience.BreakerPolicy{Calls: 7, Failures: 0.3}}
	got := policy.Overlay(code, resilience.Policy{Breaker: &resilience.BreakerPolicy{Failures: 0.6}})
	if *got.Breaker != (resilience.BreakerPolicy{Calls: 7, Failures: 0.6}) {
		t.Errorf("got %+v", *got.Breaker)
	}
	if code.Breaker.Failures != 0.3 {
		t.Error("an argument was changed")
	}
	plus, critical := resilience.CriticalPlus, resilience.Critical
	m := policy.Overlay(policy.Method{Criticality: &plus}, policy.Method{Criticality: &critical})
	if *m.Criticality != resilience.Critical {
		t.Errorf("criticality %v, want what is said although it is the zero value", *m.Criticality)
	}
}
