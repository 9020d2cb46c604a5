package admission

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

func TestWithoutLoadEverythingBeginsAtOnce(t *testing.T) {
	c := New(Config{})
	for range 1000 {
		ticket, err := c.Admit(t.Context(), Request{})
		if err != nil {
			t.Fatal(err)
		}
		defer ticket.Done(Done)
	}
	if s := c.Stats(); s.InFlight != 1000 || s.Waiting != 0 || s.Limit != DefaultMaxLimit {
		t.Errorf("%+v", s)
	}
}

// waiting starts calls one after the other behind a full server, and returns the order in which they began.
func waiting(t *testing.T, c *Controller, requests []Request) (order []int) {
	first, err := c.Admit(t.Context(), Request{})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() {
			ticket, err := c.Admit(t.Context(), r)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			time.Sleep(time.Millisecond) //nolint:forbidigo // the work, in virtual time
			ticket.Done(Done)
		})
		synctest.Wait()
	}
	first.Done(Done)
	wg.Wait()
	return order
}

func TestTheMoreCriticalGoFirstAndFirstAttemptsBeforeRepetitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{MaxLimit: 1})
		got := waiting(t, c, []Request{
			{Criticality: resilience.Sheddable},
			{Attempt: 1},
			{},
			{Criticality: resilience.SheddablePlus},
			{Criticality: resilience.CriticalPlus, Attempt: 3},
			{},
			{Criticality: resilience.CriticalPlus},
		})
		if want := []int{6, 4, 2, 5, 1, 3, 0}; !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
	})
}

func TestAFullQueueGivesUpTheLeastCritical(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{MaxLimit: 1, Queue: 2})
		running, _ := c.Admit(t.Context(), Request{})
		errs := make(chan error, 3)
		call := func(level resilience.Criticality) {
			go func() {
				ticket, err := c.Admit(t.Context(), Request{Criticality: level})
				if err == nil {
					ticket.Done(Done)
				}
				errs <- err
			}()
			synctest.Wait()
		}
		call(resilience.Sheddable)
		call(resilience.Critical)
		if _, err := c.Admit(t.Context(), Request{Criticality: resilience.Sheddable}); !isShed(err) {
			t.Errorf("with a full queue of others as critical: %v", err)
		}
		call(resilience.CriticalPlus)
		if err := <-errs; !isShed(err) {
			t.Errorf("the least critical: %v", err)
		}
		running.Done(Done)
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if s := c.Stats(); s.Shed != 2 || s.InFlight != 0 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func isShed(err error) bool {
	var e *failure.Error
	return errors.As(err, &e) && e.Shed() && e.Code == failure.ResourceExhausted
}

func TestWhoHasNoTimeLeftIsNotLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{MaxLimit: 1})
		running, _ := c.Admit(t.Context(), Request{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := c.Admit(ctx, Request{})
		if failure.CodeOf(err) != failure.DeadlineExceeded || time.Since(start) != 10*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := c.Admit(ctx, Request{}); failure.CodeOf(err) != failure.DeadlineExceeded {
			t.Errorf("with a deadline in the past: %v", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		go cancel()
		if _, err := c.Admit(gone, Request{}); failure.CodeOf(err) != failure.Canceled {
			t.Errorf("whose caller has gone: %v", err)
		}
		running.Done(Done)
		if s := c.Stats(); s.InFlight != 0 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// While others wait, a call that has less time than half of its kind take is refused at once, and only then.
func TestDeadlinesAreComparedWithWhatCallsTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{MaxLimit: 1})
		call := func(ctx context.Context, method string) error {
			ticket, err := c.Admit(ctx, Request{Method: method})
			if err == nil {
				time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the work, in virtual time
				ticket.Done(Done)
			}
			return err
		}
		for range kindSamples {
			if err := call(t.Context(), "slow"); err != nil {
				t.Fatal(err)
			}
		}
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := call(short, "slow"); err != nil {
			t.Errorf("without load: %v", err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = call(t.Context(), "slow") })
		synctest.Wait()
		wg.Go(func() { _ = call(t.Context(), "slow") })
		synctest.Wait()
		short, cancel = context.WithTimeout(t.Context(), 90*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := call(short, "slow"); failure.CodeOf(err) != failure.DeadlineExceeded || time.Since(start) > 0 {
			t.Errorf("behind others: %v after %v", err, time.Since(start))
		}
		wg.Wait()
	})
}

func TestQuotas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{Quota: Quota{Rate: 10, Burst: 2}, Quotas: map[string]Quota{"big": {Rate: 1000, Burst: 5}, "free": {}}, MaxTenants: 2})
		take := func(tenant string) error {
			ticket, err := c.Admit(t.Context(), Request{Tenant: tenant})
			ticket.Done(Done)
			return err
		}
		count := func(tenant string) (n int) {
			for n < 100 && take(tenant) == nil {
				n++
			}
			return n
		}
		for tenant, want := range map[string]int{"a": 2, "big": 5, "free": 100, "": 100} {
			if got := count(tenant); got != want {
				t.Errorf("tenant %q: %d calls at once, want %d", tenant, got, want)
			}
		}
		err := take("a")
		var e *failure.Error
		if !errors.As(err, &e) || e.Reason != failure.ReasonQuota || e.RetryAfter != 100*time.Millisecond {
			t.Errorf("%v, retry after %v", err, e.RetryAfter)
		}
		if after, ok := Pushback(e); !ok || after != 100*time.Millisecond {
			t.Errorf("pushback %v %v", after, ok)
		}
		time.Sleep(e.RetryAfter) //nolint:forbidigo // in virtual time
		if got := count("a"); got != 1 {
			t.Errorf("after that: %d calls, want 1", got)
		}
		count("b")
		count("c") // a was not used for longer: it is forgotten
		if n := len(c.quotas.others); n != 2 {
			t.Errorf("%d tenants are kept, want 2", n)
		}
		c.Configure(Config{Quotas: map[string]Quota{"a": {Rate: 1}}})
		if got := count("b"); got != 100 {
			t.Errorf("without a quota: %d calls", got)
		}
		if got := count("a"); got != 1 {
			t.Errorf("with one of its own: %d calls, want 1", got)
		}
	})
}

func TestConfigureAppliesToThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cfg := range []Config{{}, {MaxLimit: 5}, {Off: true}} {
			c := New(Config{MaxLimit: 1})
			running, _ := c.Admit(t.Context(), Request{})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					ticket, err := c.Admit(t.Context(), Request{})
					if err != nil {
						t.Error(err)
					}
					ticket.Done(Done)
				})
			}
			synctest.Wait()
			c.Configure(cfg)
			wg.Wait()
			running.Done(Done)
			if s := c.Stats(); s.InFlight != 0 || s.Waiting != 0 {
				t.Errorf("%+v: %+v", cfg, s)
			}
		}
	})
}

func TestOffAdmitsEverything(t *testing.T) {
	c := New(Config{Off: true, MaxLimit: 1, Quota: Quota{Rate: 1, Burst: 1}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		ticket, err := c.Admit(ctx, Request{Tenant: "a"})
		if err != nil {
			t.Fatal(err)
		}
		c.Configure(Config{Off: true})
		defer ticket.Done(Done)
	}
}

func TestPushback(t *testing.T) {
	shed := failure.New(failure.ResourceExhausted, "x").WithReason(failure.ReasonShed, failure.Domain)
	for _, c := range []struct {
		err  *failure.Error
		want time.Duration
		ok   bool
	}{
		{nil, 0, false},
		{failure.New(failure.ResourceExhausted, "x"), 0, false},
		{failure.New(failure.ResourceExhausted, "x").WithReason("SHED", "else"), 0, false},
		{refusal(overdue, 0, 0), 0, false},
		{shed, 0, true},
		{refusal(shedAll, 0, 0), -1, true},
		{refusal(overQuota, 3*time.Second, 0), 3 * time.Second, true},
	} {
		if got, ok := Pushback(c.err); got != c.want || ok != c.ok {
			t.Errorf("%v: %v %v, want %v %v", c.err, got, ok, c.want, c.ok)
		}
	}
	for rnd := range uint64(1000) {
		if after, _ := Pushback(refusal(1, 0, rnd*1e9)); after < 0 || after >= jitter {
			t.Fatalf("shed by one instance: %v", after)
		}
	}
}

// A server must not fall over a wrong number that somebody else has set.
func TestWrongValuesCountAsDefaults(t *testing.T) {
	nan := Quota{Rate: math.NaN()}
	for _, cfg := range []Config{
		{MinLimit: -1, MaxLimit: -1, MaxTenants: -1, Quota: Quota{Rate: 1}},
		{MinLimit: 20, MaxLimit: 10, Quota: nan, Quotas: map[string]Quota{"acme": nan}},
	} {
		fresh, changed := New(cfg), New(Config{Quota: Quota{Rate: 1}})
		changed.Configure(cfg)
		for _, c := range []*Controller{fresh, changed} {
			for _, tenant := range []string{"acme", "other"} {
				ticket, err := c.Admit(t.Context(), Request{Tenant: tenant})
				if err != nil {
					t.Fatalf("%+v: %v", cfg, err)
				}
				ticket.Done(Done)
			}
			want := DefaultMaxLimit
			if cfg.MaxLimit > 0 {
				want = cfg.MaxLimit
			}
			if got := c.Stats().Limit; got != want {
				t.Errorf("%+v: limit %d, want %d", cfg, got, want)
			}
			if lo, hi := c.core.cfg.MinLimit, c.core.cfg.MaxLimit; lo < 1 || lo > hi {
				t.Errorf("%+v: the limit is between %d and %d", cfg, lo, hi)
			}
		}
	}
}

func TestValidateReportsEverything(t *testing.T) {
	err := Config{MinLimit: -1, MaxLimit: -1, MaxTenants: -1, Quota: Quota{Rate: -1, Burst: -1}, Quotas: map[string]Quota{"a b": {}}}.Validate()
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 6 {
		t.Error(err)
	}
	if err := (Config{MinLimit: 5, MaxLimit: 4}).Validate(); err == nil {
		t.Error("a MinLimit above the MaxLimit is valid")
	}
	if err := (Config{MaxLimit: 1, Queue: -1}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
}

// Whatever happens in whatever order: the limit is kept, nobody is forgotten, and nobody gets two verdicts.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{MinLimit: rapid.IntRange(0, 5).Draw(t, "min"), MaxLimit: rapid.IntRange(5, 50).Draw(t, "max"), Queue: rapid.IntRange(-1, 20).Draw(t, "queue")}
		c := newCore(cfg)
		k := c.kind(0, "", "")
		var now int64
		var running []int64
		pending := make(map[*waiter]bool)
		settle := func() {
			for _, w := range c.decided {
				if !pending[w] {
					t.Fatal("a second verdict, or one on nobody")
				}
				delete(pending, w)
				if w.verdict == admitted {
					running = append(running, now)
				} else if w.verdict == undecided || w.verdict == queued {
					t.Fatalf("verdict %d", w.verdict)
				}
			}
			c.decided = c.decided[:0]
		}
		before := 0
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now += int64(rapid.IntRange(0, 50).Draw(t, "ms")) * int64(ms)
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				var deadline int64
				if rapid.Bool().Draw(t, "deadline") {
					deadline = now + int64(rapid.IntRange(-10, 300).Draw(t, "left"))*int64(ms)
				}
				v, w := c.arrive(now, deadline, k, rapid.IntRange(0, ranks-1).Draw(t, "rank"))
				switch v { //nolint:exhaustive // the others are refusals
				case queued:
					pending[w] = true
				case admitted:
					running = append(running, now)
				}
			case 2, 3:
				if len(running) > 0 {
					c.end(now, running[0], k, Outcome(rapid.IntRange(0, 2).Draw(t, "outcome")))
					running = running[1:]
				}
			case 4:
				if rapid.Bool().Draw(t, "cancel") {
					for w := range pending {
						c.cancel(now, w)
						if w.verdict == undecided {
							delete(pending, w)
						}
						break
					}
				} else {
					c.tick(now)
				}
			}
			settle()
			if c.inFlight != len(running) {
				t.Fatalf("%d in progress, counted %d", len(running), c.inFlight)
			}
			if c.inFlight > c.cfg.MaxLimit || c.inFlight > before && float64(c.inFlight) > c.limiter.limit {
				t.Fatalf("%d in progress, limit %.1f of at most %d", c.inFlight, c.limiter.limit, c.cfg.MaxLimit)
			}
			if l := c.limiter.limit; l < float64(c.cfg.MinLimit) || l > float64(c.cfg.MaxLimit) {
				t.Fatalf("limit %.1f is not between %d and %d", l, c.cfg.MinLimit, c.cfg.MaxLimit)
			}
			if len(pending) != c.queue.n || c.queue.n > max(cfg.defaults().Queue, 0) {
				t.Fatalf("%d wait, counted %d", len(pending), c.queue.n)
			}
			if c.queue.n > 0 && c.limiter.allows(c.inFlight) {
				t.Fatal("calls wait although there is room")
			}
			before = c.inFlight
		}
	})
}

func BenchmarkAdmit(b *testing.B) {
	run := func(b *testing.B, c *Controller, ctx context.Context, r Request) { //nolint:revive // a benchmark
		b.ReportAllocs()
		for b.Loop() {
			ticket, err := c.Admit(ctx, r)
			if err == nil {
				ticket.Done(Done)
			}
		}
	}
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	b.Run("admitted", func(b *testing.B) { run(b, New(Config{}), ctx, Request{Method: "/shop.Orders/Place"}) })
	b.Run("quota", func(b *testing.B) {
		run(b, New(Config{Quota: Quota{Rate: 1e9}}), ctx, Request{Method: "/shop.Orders/Place", Tenant: "acme"})
	})
	b.Run("shed", func(b *testing.B) {
		c := New(Config{MaxLimit: 1, Queue: -1})
		_, _ = c.Admit(ctx, Request{})
		run(b, c, ctx, Request{Method: "/shop.Orders/Place"})
	})
	b.Run("off", func(b *testing.B) { run(b, New(Config{Off: true}), ctx, Request{Method: "/shop.Orders/Place"}) })
}

// Names that somebody made up do not keep others out for longer than they are worth something.
func TestMadeUpKindsAreForgotten(t *testing.T) {
	c := newCore(Config{})
	known := c.kind(0, "GET", "orders")
	for i := range 2 * maxKinds {
		c.kind(0, "GET", strconv.Itoa(i))
	}
	if c.kind(0, "GET", "stock") != nil || len(c.kinds) != maxKinds {
		t.Fatalf("%d kinds", len(c.kinds))
	}
	later := int64(kindFresh)
	known.observe(later, time.Millisecond, false)
	if c.kind(later, "GET", "stock") == nil || c.kind(later, "GET", "orders") != known {
		t.Errorf("of %d kinds, what is used is not among them", len(c.kinds))
	}
}
