package locktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/stopwatch"
	"github.com/holdfast-go/holdfast/lock/driver"
)

var driverCases = []testCase{
	{"Driver/Order", testOrder},
	{"Driver/Tokens", testTokens},
	{"Driver/Repeats", testRepeats},
	{"Driver/Expires", testExpires},
	{"Driver/Ends", testEnds},
	{"Driver/WaitsForOneOnly", testWaitsForOneOnly},
	{"Driver/Holder", testHolder},
	{"Driver/Epoch", testEpoch},
	{"Driver/Names", testNames},
	{"Driver/Silence", testSilence},
}

// open returns a session that lasts for a case without being renewed.
func (e *env) open(t *testing.T) (driver.Engine, driver.Session, Link) {
	t.Helper()
	return e.session(t, time.Minute)
}

func (e *env) session(t *testing.T, ttl time.Duration) (driver.Engine, driver.Session, Link) {
	t.Helper()
	d, link := e.Open(t)
	s, err := d.Open(e.ctx(t), ttl, "somebody")
	if err != nil {
		t.Fatal(err)
	}
	if s.TTL() < ttl || s.ID() == "" {
		t.Fatalf("session %q with a TTL of %v", s.ID(), s.TTL())
	}
	return d, s, link
}

func check(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// testOrder: tickets are served in the order of Enter, of one session and of several.
func testOrder(t *testing.T, e *env) {
	d, s1, _ := e.open(t)
	_, s2, _ := e.open(t)
	ctx := e.ctx(t)
	sessions := []driver.Session{s1, s2, s1, s2}
	for i, s := range sessions {
		check(t, "Enter", s.Enter(ctx, "l", fmt.Sprint("t", 9-i), ""), nil)
	}
	for i, s := range sessions {
		id := fmt.Sprint("t", 9-i)
		for j := i + 1; j < len(sessions); j++ {
			_, err := sessions[j].Claim(ctx, "l", fmt.Sprint("t", 9-j), 1)
			check(t, fmt.Sprintf("Claim of %d before %d", j, i), err, driver.ErrNotFirst)
		}
		check(t, "Wait", s.Wait(ctx, "l", id), nil)
		_, err := s.Claim(ctx, "l", id, 1)
		check(t, "Claim", err, nil)
		check(t, "Leave", s.Leave(ctx, "l", id), nil)
	}
	h, _, err := d.Holder(ctx, "l")
	if err != nil || h != (driver.Holder{}) {
		t.Errorf("in the end, the holder is %+v, %v", h, err)
	}
}

// testTokens: each is larger than the one before and at least the floor.
func testTokens(t *testing.T, e *env) {
	_, s1, _ := e.open(t)
	_, s2, _ := e.open(t)
	ctx := e.ctx(t)
	var last uint64
	for i, floor := range []uint64{1, 1, 1000, 1, 5000, 4000, 1 << 52, 1} {
		s := []driver.Session{s1, s2}[i%2]
		check(t, "Enter", s.Enter(ctx, "l", fmt.Sprint(i), ""), nil)
		token, err := s.Claim(ctx, "l", fmt.Sprint(i), floor)
		if err != nil || token <= last || token < floor {
			t.Errorf("Claim with floor %d after %d = %d, %v", floor, last, token, err)
		}
		last = token
		check(t, "Leave", s.Leave(ctx, "l", fmt.Sprint(i)), nil)
	}
}

// testRepeats: what is asked again is done once.
func testRepeats(t *testing.T, e *env) {
	_, s1, _ := e.open(t)
	_, s2, _ := e.open(t)
	ctx := e.ctx(t)
	check(t, "Enter", s1.Enter(ctx, "l", "a", ""), nil)
	check(t, "Enter", s2.Enter(ctx, "l", "b", ""), nil)
	check(t, "Enter again", s1.Enter(ctx, "l", "a", ""), nil)
	one, err := s1.Claim(ctx, "l", "a", 1)
	check(t, "Claim", err, nil)
	two, err := s1.Claim(ctx, "l", "a", 1)
	check(t, "Claim again", err, nil)
	if two <= one {
		t.Errorf("the second claim got %d after %d", two, one)
	}
	check(t, "Leave", s1.Leave(ctx, "l", "a"), nil)
	check(t, "Leave again", s1.Leave(ctx, "l", "a"), nil)
	_, err = s1.Claim(ctx, "l", "a", 1)
	check(t, "Claim of what left", err, driver.ErrGone)
	check(t, "Wait of what left", s1.Wait(ctx, "l", "a"), driver.ErrGone)
	check(t, "Leave of what never was", s1.Leave(ctx, "l", "c"), nil)
	if _, err = s2.Claim(ctx, "l", "b", 1); err != nil {
		t.Errorf("Claim of the next = %v", err)
	}
}

// testExpires: a session lives as long as it is renewed, and not for long afterwards. Its tickets go with it.
func testExpires(t *testing.T, e *env) {
	_, s1, _ := e.session(t, e.cfg.TTL)
	_, s2, _ := e.open(t)
	ctx := e.ctx(t)
	check(t, "Enter", s1.Enter(ctx, "l", "a", ""), nil)
	if _, err := s1.Claim(ctx, "l", "a", 1); err != nil {
		t.Fatal(err)
	}
	check(t, "Enter", s2.Enter(ctx, "l", "b", ""), nil)
	var last time.Time // it was renewed at this time or later
	for range 5 {
		<-time.After(e.cfg.TTL / 4)
		last = time.Now()
		check(t, "Renew", s1.Renew(ctx), nil)
	}
	check(t, "Wait", s2.Wait(ctx, "l", "b"), nil)
	if took := time.Since(last); took < e.cfg.TTL-e.cfg.TTL/10 || took > e.cfg.Grants+e.cfg.Within {
		t.Errorf("a session of %v ended after %v", e.cfg.TTL, took)
	}
	check(t, "Renew", s1.Renew(ctx), driver.ErrLost)
	check(t, "Enter", s1.Enter(ctx, "l", "c", ""), driver.ErrLost)
	if _, err := s1.Claim(ctx, "l", "a", 1); !errors.Is(err, driver.ErrLost) && !errors.Is(err, driver.ErrGone) {
		t.Errorf("Claim after the end = %v", err)
	}
}

// testEnds: a session that is ended takes its tickets along at once, and ending it again is nothing.
func testEnds(t *testing.T, e *env) {
	_, s1, _ := e.open(t)
	_, s2, _ := e.open(t)
	ctx := e.ctx(t)
	check(t, "Enter", s1.Enter(ctx, "l", "a", ""), nil)
	check(t, "Enter", s1.Enter(ctx, "m", "a", ""), nil)
	check(t, "Enter", s2.Enter(ctx, "l", "b", ""), nil)
	check(t, "End", s1.End(ctx), nil)
	check(t, "Wait", s2.Wait(ctx, "l", "b"), nil)
	_, err := s2.Claim(ctx, "l", "b", 1)
	check(t, "Claim", err, nil)
	check(t, "End again", s1.End(ctx), nil)
	check(t, "Renew", s1.Renew(ctx), driver.ErrLost)
}

// testWaitsForOneOnly: when one in the middle leaves, the one behind it waits on, and the one that it waited for matters.
func testWaitsForOneOnly(t *testing.T, e *env) {
	_, s, _ := e.open(t)
	ctx := e.ctx(t)
	for _, id := range []string{"a", "b", "c"} {
		check(t, "Enter", s.Enter(ctx, "l", id, ""), nil)
	}
	done := make(chan error, 1)
	go func() { done <- s.Wait(ctx, "l", "c") }()
	check(t, "Leave", s.Leave(ctx, "l", "b"), nil)
	select {
	case err := <-done:
		// Coming back early is allowed: whoever waits asks for what it waits for.
		check(t, "early Wait", err, nil)
		_, err = s.Claim(ctx, "l", "c", 1)
		check(t, "Claim", err, driver.ErrNotFirst)
		go func() { done <- s.Wait(ctx, "l", "c") }()
	case <-time.After(e.cfg.TTL / 4):
	}
	check(t, "Leave", s.Leave(ctx, "l", "a"), nil)
	check(t, "Wait", <-done, nil)
	_, err := s.Claim(ctx, "l", "c", 1)
	check(t, "Claim", err, nil)
}

// testHolder: the holder is told, and changes are.
func testHolder(t *testing.T, e *env) {
	d, s, _ := e.open(t)
	ctx := e.ctx(t)
	h, rev, err := d.Holder(ctx, "l")
	if err != nil || h != (driver.Holder{}) {
		t.Errorf("of a lock that nobody holds: %+v, %v", h, err)
	}
	awaited := make(chan error, 1)
	go func() { awaited <- d.Await(ctx, "l", rev) }()
	check(t, "Enter", s.Enter(ctx, "l", "a", "at home"), nil)
	token, err := s.Claim(ctx, "l", "a", 77)
	check(t, "Claim", err, nil)
	check(t, "Await", <-awaited, nil)
	want := driver.Holder{Name: "somebody", Value: "at home", Token: token}
	e.until(t, "the holder", func() bool {
		h, rev, err = d.Holder(ctx, "l")
		return err == nil && h == want
	})
	go func() { awaited <- d.Await(ctx, "l", rev) }()
	check(t, "Leave", s.Leave(ctx, "l", "a"), nil)
	check(t, "Await", <-awaited, nil)
	e.until(t, "nobody", func() bool {
		h, _, err = d.Holder(ctx, "l")
		return err == nil && h == (driver.Holder{})
	})
}

// testEpoch: an engine that was wiped grants nothing until it is told that it may; of many who ask, one begins the epoch.
func testEpoch(t *testing.T, e *env) {
	d, _, _ := e.open(t)
	first, err := d.Epoch(e.ctx(t))
	if err != nil || !first.Settled || first.ID == "" {
		t.Fatalf("the first epoch is %+v, %v", first, err)
	}
	e.Wipe()
	d, s, _ := e.open(t)
	ctx := e.ctx(t)
	check(t, "Enter", s.Enter(ctx, "l", "a", ""), nil)
	_, err = s.Claim(ctx, "l", "a", 1)
	check(t, "Claim", err, driver.ErrUnsettled)
	var mu sync.Mutex
	seen := make(map[driver.Epoch]bool)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := d.Epoch(ctx)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[got] = true
		})
	}
	wg.Wait()
	if len(seen) != 1 || seen[first] {
		t.Fatalf("epochs %v after %v", seen, first)
	}
	check(t, "Settle of another epoch", d.Settle(ctx, first.ID), nil)
	_, err = s.Claim(ctx, "l", "a", 1)
	check(t, "Claim", err, driver.ErrUnsettled)
	for got := range seen {
		check(t, "Settle", d.Settle(ctx, got.ID), nil)
		check(t, "Settle again", d.Settle(ctx, got.ID), nil)
	}
	_, err = s.Claim(ctx, "l", "a", 1)
	check(t, "Claim", err, nil)
}

// testNames: locks whose names have separators in them, or begin alike, are different locks.
func testNames(t *testing.T, e *env) {
	_, s, _ := e.open(t)
	ctx := e.ctx(t)
	names := []string{"a", "a/", "a/b", "/", "a%2Fb", "ä b?c#d&e", "a/queue/x", ".", "..", "a//b"}
	for _, name := range names {
		check(t, "Enter "+name, s.Enter(ctx, name, "t", name), nil)
		if _, err := s.Claim(ctx, name, "t", 1); err != nil {
			t.Errorf("Claim %s = %v", name, err)
		}
	}
	d, _ := e.Open(t)
	for _, name := range names {
		if h, _, err := d.Holder(ctx, name); err != nil || h.Value != name {
			t.Errorf("Holder %s = %+v, %v", name, h, err)
		}
	}
}

// testSilence: no call outlasts its ctx, whether the engine refuses or hangs, and no ErrLost is made of it.
func testSilence(t *testing.T, e *env) {
	d, s, link := e.open(t)
	check(t, "Enter", s.Enter(e.ctx(t), "l", "a", ""), nil)
	check(t, "Enter", s.Enter(e.ctx(t), "l", "b", ""), nil)
	calls := map[string]func(context.Context) error{
		"Open":   func(ctx context.Context) error { _, err := d.Open(ctx, e.cfg.TTL, ""); return err },
		"Holder": func(ctx context.Context) error { _, _, err := d.Holder(ctx, "l"); return err },
		"Await":  func(ctx context.Context) error { return d.Await(ctx, "l", 1) },
		"Epoch":  func(ctx context.Context) error { _, err := d.Epoch(ctx); return err },
		"Settle": func(ctx context.Context) error { return d.Settle(ctx, "x") },
		"Renew":  s.Renew,
		"Enter":  func(ctx context.Context) error { return s.Enter(ctx, "l", "c", "") },
		"Wait":   func(ctx context.Context) error { return s.Wait(ctx, "l", "b") },
		"Claim":  func(ctx context.Context) error { _, err := s.Claim(ctx, "l", "a", 1); return err },
		"Leave":  func(ctx context.Context) error { return s.Leave(ctx, "l", "a") },
		"End":    s.End,
	}
	for _, freeze := range []bool{false, true} {
		if freeze {
			link.Freeze()
		} else {
			link.Cut()
		}
		for name, call := range calls {
			ctx, cancel := context.WithTimeout(t.Context(), e.cfg.TTL/8)
			took := stopwatch.Start(t)
			err := call(ctx)
			cancel()
			if err == nil || errors.Is(err, driver.ErrLost) || errors.Is(err, driver.ErrGone) {
				t.Errorf("%s of an engine that does not answer (frozen %v) = %v", name, freeze, err)
			}
			if took := took(); took > e.cfg.TTL/8+e.cfg.Within/4 {
				t.Errorf("%s took %v", name, took)
			}
		}
		link.Restore()
		link.Thaw()
	}
}
