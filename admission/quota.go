package admission

import (
	"math"
	"time"
)

// bucket is a token bucket: what a tenant may still do at once. It is filled with time.
type bucket struct {
	tokens float64
	at     int64 // when tokens was right, in ns

	tenant     string // empty: one of Config.Quotas, which stays
	next, prev *bucket
}

// take takes a token, or returns after how long there will be one.
func (b *bucket) take(now int64, q Quota) (wait time.Duration, ok bool) {
	burst := q.burst()
	if now > b.at {
		b.tokens = min(burst, b.tokens+float64(now-b.at)/float64(time.Second)*q.Rate)
		b.at = now
	}
	if b.tokens = min(b.tokens, burst); b.tokens >= 1 {
		b.tokens--
		return 0, true
	}
	seconds := (1 - b.tokens) / q.Rate
	return time.Duration(min(math.Ceil(seconds*1e9), float64(maxQuotaWait))), false
}

// maxQuotaWait bounds what a caller is told: a quota may be changed until then.
const maxQuotaWait = time.Minute

// burst is how many tokens a bucket holds.
func (q Quota) burst() float64 {
	if q.Burst > 0 {
		return float64(q.Burst)
	}
	return max(1, math.Ceil(q.Rate))
}

// quotas is the buckets of all tenants. What is kept for those that the configuration does not name is bounded; the one
// unused longest is forgotten first.
type quotas struct {
	cfg     Config
	named   map[string]*bucket
	others  map[string]*bucket
	old     *bucket // unused longest
	young   *bucket
	enabled bool
}

func newQuotas(cfg Config) *quotas {
	q := &quotas{named: make(map[string]*bucket), others: make(map[string]*bucket)}
	q.configure(cfg)
	return q
}

// configure changes the quotas; tenants keep what they have left, as far as the new ones allow.
func (q *quotas) configure(cfg Config) {
	q.cfg = cfg
	q.enabled = cfg.Quota.Rate > 0 || len(cfg.Quotas) > 0
	for tenant := range q.named {
		if _, ok := cfg.Quotas[tenant]; !ok {
			delete(q.named, tenant)
		}
	}
	if !(cfg.Quota.Rate > 0) {
		clear(q.others)
		q.old, q.young = nil, nil
	}
	for len(q.others) > cfg.MaxTenants {
		q.forget()
	}
}

// take takes a token of tenant's, or returns after how long there will be one.
func (q *quotas) take(now int64, tenant string) (wait time.Duration, ok bool) {
	if !q.enabled || tenant == "" {
		return 0, true
	}
	if quota, ok := q.cfg.Quotas[tenant]; ok {
		if !(quota.Rate > 0) { // nor is a NaN
			return 0, true
		}
		b := q.named[tenant]
		if b == nil {
			b = &bucket{tokens: quota.burst(), at: now}
			q.named[tenant] = b
		}
		return b.take(now, quota)
	}
	if !(q.cfg.Quota.Rate > 0) {
		return 0, true
	}
	b := q.others[tenant]
	if b == nil {
		if len(q.others) >= q.cfg.MaxTenants {
			q.forget()
		}
		b = &bucket{tokens: q.cfg.Quota.burst(), at: now, tenant: tenant}
		q.others[tenant] = b
		q.append(b)
	} else if b != q.young {
		q.unlink(b)
		q.append(b)
	}
	return b.take(now, q.cfg.Quota)
}

func (q *quotas) append(b *bucket) {
	b.prev, b.next = q.young, nil
	if q.young != nil {
		q.young.next = b
	} else {
		q.old = b
	}
	q.young = b
}

func (q *quotas) unlink(b *bucket) {
	if b.prev != nil {
		b.prev.next = b.next
	} else {
		q.old = b.next
	}
	if b.next != nil {
		b.next.prev = b.prev
	} else {
		q.young = b.prev
	}
}

func (q *quotas) forget() {
	b := q.old
	q.unlink(b)
	delete(q.others, b.tenant)
}
