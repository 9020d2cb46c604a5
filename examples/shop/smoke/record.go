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

// verdict is what a customer thinks of an answer.
type verdict string

const (
	fine    verdict = "ok"
	refused verdict = "refused" // out of stock, no money: an answer, if not the one that was hoped for
	failed  verdict = "failed"
)

// Reasons of refusals that are answers.
const (
	outOfStock    = "OUT_OF_STOCK"
	paymentFailed = "PAYMENT_FAILED" // of a card that was meant to; the audit looks whether it was
)

// result is one request and its answer.
type result struct {
	kind       kind
	request    string // method and path
	key        string
	status     int    // 0: no answer
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
	settled  time.Duration // from the last request until nothing was on its way
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
	res.verdict = res.judge()
	r.results = append(r.results, res)
	if res.verdict == failed {
		if r.failures++; len(r.examples) < maxExamples {
			r.examples = append(r.examples, res)
		}
	}
}

func (res result) judge() verdict {
	switch {
	case res.status >= 200 && res.status < 300, res.status == 304:
		return fine
	case res.status == 409 && (res.kind == checkout || res.kind == repeat) &&
		(contains(res.body, outOfStock) || contains(res.body, paymentFailed)):
		return refused
	}
	return failed
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
