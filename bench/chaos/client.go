package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/linear"
	"github.com/holdfast-go/holdfast/replica"
)

const (
	slots  = 8   // keys in use at once
	perKey = 150 // operations on a key until another takes its place: the search in a history has its length in it
)

// users is all clients, what they saw, and the keys in use.
type users struct {
	begin   time.Time
	history linear.History
	http    *http.Client
	members []string // where they serve clients
	think   time.Duration

	mu       sync.Mutex
	used     [slots]int
	seen     map[string]string // what was read last of a key, for compare-and-swap
	took     []time.Duration   // of operations that were answered
	last     time.Duration     // when the last write was answered
	gap      time.Duration     // longest time without one
	attempts int
	unknown  int
}

func newUsers(members []string, think time.Duration) *users {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
	return &users{begin: time.Now(), http: &http.Client{Transport: transport}, members: members, think: think, seen: map[string]string{}}
}

func (u *users) now() time.Duration { return time.Since(u.begin) }

// key takes a key for one more operation. Two of three are only appended to.
func (u *users) key(r *rand.Rand) (key, seen string, appends bool) {
	slot := r.IntN(slots)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.used[slot]++
	key = fmt.Sprintf("k%d.%d", slot, u.used[slot]/perKey)
	return key, u.seen[key], slot%3 != 2
}

// run is one client until stop is closed. ctx ends what is still not answered then.
func (u *users) run(ctx context.Context, stop <-chan struct{}, id int, seed uint64) {
	r := rand.New(rand.NewPCG(seed, uint64(id)))
	for n := 0; ; n++ {
		wait := time.NewTimer(time.Duration(r.Int64N(int64(2*u.think) + 1)))
		select {
		case <-stop:
			wait.Stop()
			return
		case <-wait.C:
		}
		u.one(ctx, r, id, n)
	}
}

// one is one operation with all its attempts, each at another member.
func (u *users) one(ctx context.Context, r *rand.Rand, id, n int) {
	key, seen, appends := u.key(r)
	op := linear.Op{Client: id, Key: key, Call: u.now()}
	value, once := fmt.Sprintf("%d.%d", id, n), fmt.Sprintf("c%d.%d", id, n)
	level := replica.Linearizable
	switch p := r.Float64(); {
	case p < 0.35:
	case p < 0.5:
		level = replica.Stale(time.Duration(r.Int64N(int64(3*time.Second))) + time.Millisecond)
		op.Stale = time.Duration(level) + time.Millisecond
	case p < 0.53:
		level, op.Stale = replica.Eventual, -1
	case appends:
		op.Kind, op.Value = linear.Append, value+string(linear.End)
	case p < 0.75:
		op.Kind, op.Value = linear.Put, value
	default:
		op.Kind, op.Value, op.Old = linear.CAS, value, seen
	}
	if r.IntN(5) == 0 {
		once = "" // such a write is tried once: nothing else keeps it from being done twice
	}
	place := u.history.Begin(op)
	for ctx.Err() == nil {
		timeout := time.Duration(100+r.IntN(4000)) * time.Millisecond
		answer, err := u.attempt(ctx, u.members[r.IntN(len(u.members))], op, once, level, timeout)
		switch {
		case err == nil:
			u.answered(place, op, answer)
			return
		case op.Kind == linear.Get || once != "":
		case errors.Is(err, errRefused):
			u.history.Refuse(place, u.now())
			return
		default:
			u.mu.Lock()
			u.unknown++
			u.mu.Unlock()
			return
		}
		pause := time.NewTimer(time.Duration(1+r.IntN(20)) * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
	u.mu.Lock()
	u.unknown++
	u.mu.Unlock()
}

func (u *users) answered(place int, op linear.Op, answer []byte) {
	now := u.now()
	u.history.End(place, now, func(op *linear.Op) {
		if op.Kind == linear.Get {
			op.Got = string(answer)
		} else {
			linear.Answer(op, answer)
		}
	})
	u.mu.Lock()
	defer u.mu.Unlock()
	u.took = append(u.took, now-op.Call)
	if op.Kind == linear.Get {
		u.seen[op.Key] = string(answer)
		return
	}
	u.gap = max(u.gap, now-u.last)
	u.last = now
}

// errRefused says that a write was not done and never will be.
var errRefused = errors.New("refused")

func (u *users) attempt(ctx context.Context, member string, op linear.Op, once string, level replica.Level, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	u.mu.Lock()
	u.attempts++
	u.mu.Unlock()
	method, where, body := http.MethodPost, "/propose?once="+url.QueryEscape(once), linear.Command(op)
	if op.Kind == linear.Get {
		method, where, body = http.MethodGet, "/read?key="+url.QueryEscape(op.Key)+"&level="+strconv.FormatInt(int64(level), 10), nil
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+member+where, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	// The transport repeats what it takes for harmless by itself; a write is not, and it must not take it for that.
	req.GetBody = nil
	resp, err := u.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", member, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	switch {
	case err != nil:
		return nil, fmt.Errorf("call %s: %w", member, err)
	case resp.StatusCode == statusRefused:
		return nil, errRefused
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("call %s: %s: %s", member, resp.Status, bytes.TrimSpace(b))
	}
	return b, nil
}

// final reads all keys, linearizably, at one member after the other.
func (u *users) final(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	i := 0
	for _, op := range u.history.Ops() {
		if _, ok := out[op.Key]; ok {
			continue
		}
		var value []byte
		ok := poll(ctx, time.Minute, func() bool {
			i++
			var err error
			value, err = u.attempt(ctx, u.members[i%len(u.members)], linear.Op{Kind: linear.Get, Key: op.Key}, "", replica.Linearizable, 5*time.Second)
			return err == nil
		})
		if !ok {
			return nil, fmt.Errorf("key %s cannot be read at the end, a minute after the last fault", op.Key)
		}
		out[op.Key] = string(value)
	}
	return out, nil
}

// quantile of the time that answers took.
func (u *users) quantile(q float64) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(u.took))
	return sorted[int(q*float64(len(sorted)-1))]
}
