package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// waitMax is how long one blocking query may be left without news. Consul adds up to a sixteenth of it.
	waitMax = time.Minute
	// waitGrace is what an answer may take beyond that.
	waitGrace = 5 * time.Second
	// lastContactMax is how long ago the server that answered may have heard of its leader.
	lastContactMax = 5 * time.Second

	// An agent with open queries is asked something this often, and the queries end when it does not answer in time: a
	// process that was stopped keeps its connections, and an answer that never comes looks like one that need not come.
	probeEvery   = time.Second
	probeTimeout = 1500 * time.Millisecond

	// The pause between two queries grows while answers come quickly: whatever changes in a check wakes all who watch
	// its service. It stays short enough to see both steps of an instance that leaves.
	gapMin = 25 * time.Millisecond
	gapMax = 200 * time.Millisecond
	// calm is how far apart answers are when nobody hurries.
	calm = time.Second
)

var (
	errSilent     = errors.New("agent does not answer any more")
	errIndexBack  = errors.New("index went back: servers were restored or changed")
	errNoIndex    = errors.New("answer without an index")
	errLeaderless = errors.New("server that answered has no leader")
	errQueryOver  = errors.New("query closed")
)

// Query is one blocking query, asked again and again. It stays with one agent and ends with the first error: whoever
// lost it does not know what it missed, and lists again.
//
// It is asked in Consul's stale mode, so that every server can answer it and an election does not end it. What a server
// behind the others says is newer than the index it is asked for in any case, and whoever uses a Query lists from the
// leader now and then.
type Query struct {
	agent *Agent
	path  string
	query url.Values

	index uint64 // of the state that was returned last
	gap   time.Duration
	last  time.Time // of the last answer

	ctx  context.Context // ends with Close
	stop context.CancelCauseFunc
}

// Query opens a query for what is newer than index after, on an agent that answers. Only the opening is bounded by ctx.
func (c *Client) Query(ctx context.Context, path string, query url.Values, after uint64) (*Query, error) {
	var agent *Agent
	err := c.Do(ctx, func(ctx context.Context, a *Agent) error {
		agent = a
		return a.ping(ctx)
	})
	if err != nil {
		return nil, err
	}
	q := &Query{agent: agent, path: path, query: maps.Clone(query), index: max(1, after), gap: gapMin}
	if q.query == nil {
		q.query = make(url.Values)
	}
	q.query.Set("stale", "")
	q.ctx, q.stop = context.WithCancelCause(c.ctx)
	return q, nil
}

// Close ends the query, and a Next that is under way. It is idempotent.
func (q *Query) Close() { q.stop(errQueryOver) }

// Next blocks until there is a newer state, decodes it into what out returns, and returns what its headers say. out is called for
// each answer, so that nothing is left of one before. After an error other than ctx's own the query is over. Next is
// for one goroutine.
func (q *Query) Next(ctx context.Context, out func() any) (Meta, error) {
	for {
		if err := q.rest(ctx); err != nil {
			return Meta{}, err
		}
		began := time.Now()
		m, err := q.ask(ctx, out())
		switch {
		case ctx.Err() != nil:
			return Meta{}, ctx.Err()
		case q.ctx.Err() != nil:
			return Meta{}, q.over()
		case err == nil, Is(err, http.StatusNotFound) && m.Index > 0: // of keys there may be none
			err = m.trusted()
		}
		if err != nil {
			q.stop(err)
			return Meta{}, err
		}
		next, changed, err := advance(q.index, m.Index)
		if err != nil {
			err = fmt.Errorf("%s: %w", q.agent.addr, err)
			q.stop(err)
			return Meta{}, err
		}
		q.pace(time.Since(began) < calm)
		q.index = next
		if changed {
			return m, nil
		}
	}
}

// advance judges the index of an answer by the one that was asked for.
func advance(asked, got uint64) (next uint64, changed bool, err error) {
	switch {
	case got == 0:
		return asked, false, errNoIndex
	case got < asked:
		return asked, false, errIndexBack
	}
	return got, got > asked, nil
}

// trusted says whether the answer came from a server that is part of its cluster.
func (m Meta) trusted() error {
	if m.Leaderless || m.LastContact > lastContactMax {
		return errLeaderless
	}
	return nil
}

// pace sets the pause before the next question.
func (q *Query) pace(hurried bool) {
	q.last = time.Now()
	if hurried {
		q.gap = min(2*q.gap, gapMax)
	} else {
		q.gap = gapMin
	}
}

// rest waits for the pause to end.
func (q *Query) rest(ctx context.Context) error {
	if q.ctx.Err() != nil {
		return q.over()
	}
	if q.last.IsZero() {
		return nil
	}
	gap := q.gap/2 + rand.N(q.gap/2)
	t := time.NewTimer(time.Until(q.last.Add(gap)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-q.ctx.Done():
		return q.over()
	case <-t.C:
		return nil
	}
}

func (q *Query) over() error {
	if q.agent.c.ctx.Err() != nil {
		return ErrClosed
	}
	return context.Cause(q.ctx)
}

// ask is one question. It ends with ctx, with the query, and when the agent falls silent.
func (q *Query) ask(ctx context.Context, out any) (Meta, error) {
	wait := waitMax
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)) // so that Consul does not go on for nobody
	}
	wait = max(wait, 10*time.Millisecond)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, timeout := context.WithTimeoutCause(ctx, wait+wait/16+waitGrace, errSilent)
	defer timeout()
	stop := context.AfterFunc(q.ctx, func() { cancel(context.Cause(q.ctx)) })
	defer stop()
	q.agent.attend(q, cancel)
	defer q.agent.leave(q)
	q.query.Set("index", strconv.FormatUint(q.index, 10))
	q.query.Set("wait", strconv.FormatInt(wait.Milliseconds(), 10)+"ms")
	return q.agent.Get(ctx, q.path, q.query, out)
}

// attend has the agent probed while q waits for it.
func (a *Agent) attend(q *Query, cancel context.CancelCauseFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[q] = cancel
	if !a.probing {
		a.probing = a.c.spawn(a.probe)
	}
}

func (a *Agent) leave(q *Query) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, q)
}

// probe asks the agent something for as long as queries wait for it, and ends them when it does not answer.
func (a *Agent) probe() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-a.c.ctx.Done():
			return
		case <-tick.C:
		}
		a.mu.Lock()
		if len(a.waiting) == 0 {
			a.probing = false
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
		ctx, cancel := context.WithTimeout(a.c.ctx, probeTimeout)
		err := a.ping(ctx)
		cancel()
		if err == nil || a.c.ctx.Err() != nil {
			continue
		}
		a.shun()
		a.mu.Lock()
		for _, end := range a.waiting {
			end(fmt.Errorf("%w: %w", errSilent, err))
		}
		a.mu.Unlock()
	}
}

// ping asks something that the agent knows by itself, that needs no rights and costs nothing. Whatever it answers, it
// is there: of agents that do not know the question, too.
func (a *Agent) ping(ctx context.Context) error {
	_, err := a.Get(ctx, "/v1/agent/version", nil, nil)
	var s *StatusError
	var bad *formatError
	if errors.As(err, &s) || errors.As(err, &bad) {
		return nil
	}
	return err
}
