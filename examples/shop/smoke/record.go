package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// kind is what a request is for.
type kind string

const (
	browse   kind = "browse"   // the page, pictures, products
	cart     kind = "cart"     // read and changed
	orders   kind = "orders"   // looked up
	checkout kind = "checkout" // the first time a key is used
	repeat   kind = "repeat"   // a checkout's key again
)

var kinds = []kind{browse, cart, orders, checkout, repeat}

// keepsState reports whether a kind of request needs the store, which is in etcd: it may then be told to come back later
// while all of etcd is frozen.
func (k kind) keepsState() bool { return k != browse }

// verdict is what a customer thinks of an answer.
type verdict string

const (
	fine    verdict = "ok"
	refused verdict = "refused" // out of stock: an answer, if not the one that was hoped for
	later   verdict = "later"   // 503 in time, with Retry-After, while all of the control plane is frozen
	failed  verdict = "failed"
)

// patience is the deadline of an answer that says "later".
const patience = 5 * time.Second

// settling is how long after the thaw "later" is still an answer that counts as one of the frozen time.
const settling = 5 * time.Second

// result is one request and its answer.
type result struct {
	kind       kind
	request    string // method and path
	key        string
	status     int // 0: no answer
	retryAfter bool
	body       string // the beginning of it, or the error
	blank      bool   // products without their stock
	start, end time.Time

	phase   string
	verdict verdict
}

// record is everything that happened. Safe for concurrent use.
type record struct {
	mu       sync.Mutex
	phases   []string // in their order
	results  []result
	frozen   time.Time // when the control plane was frozen, if it was
	thawed   time.Time
	examples []result // of failures, the first few
	failures int
}

const maxExamples = 12

func newRecord() *record { return &record{} }

// enter begins a phase.
func (r *record) enter(phase string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phases = append(r.phases, phase)
}

func (r *record) phase() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.phases) == 0 {
		return ""
	}
	return r.phases[len(r.phases)-1]
}

// freeze and thaw note when the control plane stopped and went on.
func (r *record) freeze() { r.mu.Lock(); defer r.mu.Unlock(); r.frozen = time.Now() }
func (r *record) thaw()   { r.mu.Lock(); defer r.mu.Unlock(); r.thawed = time.Now() }

// add judges a result and keeps it.
func (r *record) add(res result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	res.verdict = r.judge(res)
	r.results = append(r.results, res)
	if res.verdict == failed {
		if r.failures++; len(r.examples) < maxExamples {
			r.examples = append(r.examples, res)
		}
	}
}

func (r *record) judge(res result) verdict {
	switch {
	case res.status >= 200 && res.status < 300, res.status == 304:
		return fine
	case res.status == 409 && (res.kind == checkout || res.kind == repeat) && contains(res.body, "OUT_OF_STOCK"):
		return refused
	case res.status == 503 && res.retryAfter && res.end.Sub(res.start) <= patience && res.kind.keepsState() && r.wasFrozen(res):
		return later
	}
	return failed
}

// wasFrozen reports whether the control plane was frozen at any time while res was under way, or just before.
func (r *record) wasFrozen(res result) bool {
	return !r.frozen.IsZero() && res.end.After(r.frozen) && (r.thawed.IsZero() || res.start.Before(r.thawed.Add(settling)))
}

// untilCheckout is the time from the thaw to the end of the first checkout begun after it that succeeded, and how many
// begun after it were told to come back.
func (r *record) untilCheckout() (d time.Duration, ok bool, told int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.thawed.IsZero() {
		return 0, false, 0
	}
	for _, res := range r.results {
		if res.kind != checkout && res.kind != repeat || res.start.Before(r.thawed) {
			continue
		}
		switch after := res.end.Sub(r.thawed); {
		case res.verdict == fine && (!ok || after < d):
			d, ok = after, true
		case res.verdict == later:
			told++
		}
	}
	return d, ok, told
}

// quantile of times, which are sorted.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return times[min(int(q*float64(len(times))), len(times)-1)]
}

// times returns how long the requests of a phase took, sorted.
func times(results []result) []time.Duration {
	out := make([]time.Duration, len(results))
	for i, res := range results {
		out[i] = res.end.Sub(res.start)
	}
	slices.Sort(out)
	return out
}

func (res result) String() string {
	s := fmt.Sprintf("%s  [%s] %s", res.start.Format("15:04:05.000"), res.phase, res.request)
	if res.key != "" {
		s += " key " + res.key
	}
	return s + fmt.Sprintf(": %d after %v: %s", res.status, res.end.Sub(res.start).Round(time.Millisecond), res.body)
}
