package rest

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/resilience"
)

// stale is the age from which an answer's latency is no news any more: its body was a stream.
const stale = 10 * time.Second

var (
	errLate   = errors.New("time is over")             // ends an attempt
	errBeaten = errors.New("another attempt answered") // ends the other one
	errBroken = errors.New("the connection broke")     // ends an attempt that net/http would make again
)

// attempt is one request to one instance.
type attempt struct {
	trip     *trip
	peer     *peer
	view     *balance.View // that peer was picked from
	plan     resilience.Plan
	number   int // of the attempts that may have reached an instance
	start    time.Time
	took     time.Duration       // until the header, or the failure
	decision resilience.Decision // of a hedge; to be read once trip.done is closed

	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer // calls tick
	once   sync.Once   // release

	// Here to spare allocations.
	trace   httptrace.ClientTrace
	url     url.URL
	whole   wholeBody
	answer  responseBody
	along   resilience.Along
	source  *watchedBody // nil: its body cannot fail, or says so itself
	carried [3]string    // the values of its headers

	// Guarded by trip.mu.
	until   time.Time // when it is late; zero if never
	hedgeAt time.Time // when it is hedged; zero if it is not, or was
	late    bool
	lost    bool // another one answered before
	early   bool // and sooner than half of such calls take
	final   bool // its answer is the caller's, and the call is under way as long as it is
	outcome resilience.Outcome
	status  int   // of the answer that is the caller's
	cut     error // by which that ended early

	// What httptrace saw. It is called by the goroutine that called do.
	began bool // a connection was asked for: what failed before is the request itself
	conn  *countedConn
	mark  int64 // of conn, when we got it
	maybe bool  // something was written on a connection before conn, or conn cannot be looked into
	again int   // how often net/http began once more with what may have run

	spared bool // its time ran out while this process stood still, and was extended
}

// newAttempt begins an attempt. t.mu is held.
func newAttempt(t *trip, p *peer, plan resilience.Plan, start time.Time) *attempt {
	a := &t.one
	if a.trip != nil {
		a = new(attempt)
	}
	a.trip, a.peer, a.plan, a.number = t, p, plan, t.past
	a.view = t.target.now.Load().view
	if !a.view.Untried(start, p.node) {
		t.call.Alone()
		a.plan.Hedge = time.Time{}
		if t.keep && a.plan.Bounded {
			// There is nobody who would answer instead, and what is cut off and sent again is done twice.
			a.plan.Bounded, a.plan.Deadline = false, t.deadline
		}
	}
	a.start, a.until, a.hedgeAt = start, a.plan.Deadline, a.plan.Hedge
	t.past++
	a.observe()
	a.trace.GetConn = a.getConn
	a.trace.GotConn = a.gotConn
	a.ctx, a.cancel = context.WithCancelCause(httptrace.WithClientTrace(t.ctx, &a.trace))
	next := a.until
	if !a.hedgeAt.IsZero() && a.hedgeAt.Before(next) {
		next = a.hedgeAt
	}
	a.timer = time.AfterFunc(next.Sub(start), a.tick)
	p.begin()
	return a
}

// tick is called when the attempt is to be hedged, and when it is late.
func (a *attempt) tick() {
	t := a.trip
	t.mu.Lock()
	now := time.Now()
	switch {
	case a.until.IsZero():
		t.mu.Unlock()
	case !now.Before(a.until) && a.spare(now):
		a.timer.Reset(a.until.Sub(now))
		t.mu.Unlock()
	case !now.Before(a.until):
		a.late = true
		t.mu.Unlock()
		a.cancel(errLate)
	default: // for the hedge, or the time was extended
		hedge := !a.hedgeAt.IsZero() && t.first == a
		a.hedgeAt = time.Time{}
		a.timer.Reset(a.until.Sub(now))
		t.mu.Unlock()
		if hedge {
			t.beside(a)
		}
	}
}

// spare gives an attempt whose time ran out while this process stood still a moment more, once, if the call has it: what
// was answered meanwhile has not been read yet. It reports whether it did. t.mu is held.
func (a *attempt) spare(now time.Time) bool {
	if a.spared || !a.until.Before(a.trip.deadline) || !resilience.StoodStill(now.Sub(a.until)) {
		return false
	}
	a.spared = true
	if a.until = now.Add(resilience.Spared); a.until.After(a.trip.deadline) {
		a.until = a.trip.deadline
	}
	return now.Before(a.until)
}

// answered makes the attempt's time that of the call, of which the answer's body is a part, and reports whether it was in
// time. endless: the body has no end.
func (a *attempt) answered(endless bool) bool {
	a.trip.mu.Lock()
	defer a.trip.mu.Unlock()
	if a.late {
		return false
	}
	a.until = a.trip.deadline
	if endless {
		a.until = time.Time{}
	}
	return true
}

func (a *attempt) getConn(string) { a.began = true }

// gotConn may be called more than once: net/http goes to another connection by itself if a reused one turns out to be
// dead, and either nothing was written on it, or net/http takes the request for one that may be repeated: by its method and
// its key alone, without a bound but that of the idle connections. That ends here, before anything is written: for what is
// not safe at once, for what is after one time, so that a further one is an attempt within the budget.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	if a.conn == nil && a.maybe || a.written() {
		a.maybe = true
		a.again++
	}
	a.conn = counted(info.Conn)
	if a.conn == nil {
		a.maybe = true
	} else {
		a.mark = a.conn.mark()
	}
	if a.again > 1 || a.again > 0 && !a.trip.safe {
		if a.conn != nil {
			a.conn.seal(a.mark)
		}
		a.cancel(errBroken)
	}
}

// written reports whether anything may have been written on the present connection, and keeps it so.
func (a *attempt) written() bool { return a.conn != nil && !a.conn.seal(a.mark) }

// sent is asked after a failure only, since it makes the connection unusable.
func (a *attempt) sent() resilience.Sent {
	if a.maybe || a.written() {
		return resilience.MaybeSent
	}
	return resilience.NotSent
}

// do sends the request and waits for the header of the response.
func (a *attempt) do(body io.ReadCloser) (*http.Response, error) {
	t := a.trip
	req := t.req.WithContext(a.ctx)
	a.url = *t.req.URL
	a.url.Host = a.peer.addr
	a.url.Scheme = "http"
	if a.peer.secure {
		a.url.Scheme = "https"
	}
	req.URL = &a.url
	if req.Host == "" {
		req.Host = t.target.service
	}
	a.source = watchBody(body)
	if a.source != nil {
		body = a.source
	}
	req.Body, req.GetBody = body, nil // net/http is not to repeat what has a body: this loop does; for the rest see gotConn
	if body == http.NoBody {
		req.ContentLength = 0
	}
	req.Header = make(http.Header, len(t.req.Header)+2)
	maps.Copy(req.Header, t.req.Header)
	req.Header[HeaderTimeout] = []string{formatTimeout(t.deadline.Sub(a.start))}
	along := t.request
	along.Attempt += a.number
	putRequest(req.Header, along)
	a.put(req.Header)
	resp, err := a.peer.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	switch {
	case worthReading(resp):
		peek(resp)
	case t.safe && isShort(resp):
		if err := a.readWhole(resp); err != nil {
			return nil, err
		}
	case t.safe && isOpen(resp):
		if resp, err = a.readOpen(resp); err != nil {
			return nil, err
		}
	}
	// An attempt that is cut off may be followed by another, and from here on that cannot be any more.
	if !a.answered(IsStream(resp)) || a.ctx.Err() != nil {
		_ = resp.Body.Close()
		a.cancel(errLate)
		return nil, context.Cause(a.ctx)
	}
	return resp, nil
}

// record is the attempt in the error of its call.
func (a *attempt) record(err error, sent resilience.Sent) resilience.Attempt {
	return resilience.Attempt{Instance: a.peer.id, Addr: a.peer.addr, Duration: a.took, Err: err, Sent: sent, Hedge: a.plan.Hedged}
}

// explain gives an error of net/http a code.
func (a *attempt) explain(err error, sent resilience.Sent) *failure.Error {
	var p *lifecycle.PanicError
	switch {
	case errors.As(err, &p):
		return panicked(err)
	case a.trip.ctx.Err() != nil:
		return failure.Wrap(a.trip.ctx.Err(), failure.CodeOf(a.trip.ctx.Err()), "the caller did not wait for an answer")
	case errors.Is(context.Cause(a.ctx), errLate): // whose body may have been given up for the same reason
		return failure.Wrap(err, failure.DeadlineExceeded, "no answer in time")
	case a.trip.body.late(): // it was given up for the same reason, and that was seen first
		return failure.Wrap(a.trip.body.failed(), failure.DeadlineExceeded, "the body of the request did not come in time")
	case a.trip.body.failed() != nil:
		return failure.Wrap(a.trip.body.failed(), failure.InvalidArgument, "the body of the request could not be read")
	case a.source.failed() != nil:
		return failure.Wrap(a.source.failed(), failure.InvalidArgument, "the body of the request could not be read")
	case !a.began:
		return failure.Wrap(err, failure.InvalidArgument, "the request cannot be sent")
	case sent == resilience.NotSent:
		return failure.Wrap(err, failure.Unavailable, "%s cannot be reached", a.trip.target.service)
	}
	return failure.Wrap(err, failure.Unavailable, "the connection broke before the answer was complete")
}

// release ends the attempt: timer, context, place in the balancer; and the call, if its answer is the caller's.
func (a *attempt) release() {
	a.once.Do(func() {
		a.timer.Stop()
		a.cancel(nil)
		now := time.Now()
		a.trip.mu.Lock()
		v, lost, early := a.outcome.Verdict(), a.lost, a.early
		final, status, cut := a.final, a.status, a.cut
		if final {
			a.trip.call.End(now)
		}
		a.trip.mu.Unlock()
		if final {
			a.trip.observed(now, status, cut)
		}
		switch {
		case early: // no answer would have been there yet, which says nothing
			v.Sample, v.Health = balance.None, balance.Neutral
		case lost:
			// It was not waited for any longer than this. That is no failure.
			v.Sample, v.Health = balance.LowerBound, balance.Neutral
		case now.Sub(a.start)-a.took > stale:
			v.Sample = balance.None
		}
		a.trip.target.done(a.peer, now, a.start, a.took, v.Sample, v.Health)
		a.peer.end()
	})
}

// deliver makes the response the caller's: from here on the time of the call counts, not that of the attempt, and the end
// of the one is that of the other. What lasts as long as both sides like is no call any more.
func (a *attempt) deliver(resp *http.Response) *http.Response {
	if !IsStream(resp) {
		a.trip.mu.Lock()
		a.final, a.trip.delivered, a.status = true, true, resp.StatusCode
		a.trip.mu.Unlock()
	}
	resp.Request = a.trip.req
	body := &a.answer
	body.body, body.attempt = resp.Body, a
	if w, ok := resp.Body.(io.Writer); ok {
		resp.Body = upgradedBody{responseBody: body, Writer: w}
		return resp
	}
	_, whole := resp.Body.(*wholeBody)
	resp.Body = body
	if whole || resp.ContentLength == 0 || a.trip.req.Method == http.MethodHead {
		a.release() // there is nothing to read any more, and many callers do not close what is empty
	}
	return resp
}

// IsStream reports whether resp is of a kind that goes on for as long as both sides like: 101 Switching Protocols and
// text/event-stream. Only the caller's context ends its body.
func IsStream(resp *http.Response) bool {
	return isStream(resp.StatusCode, resp.Header.Get("Content-Type"))
}

func isStream(status int, ct string) bool {
	const events = "text/event-stream"
	return status == http.StatusSwitchingProtocols ||
		len(ct) >= len(events) && strings.EqualFold(ct[:len(events)], events)
}

// responseBody holds the attempt until it was read or closed.
type responseBody struct {
	body    io.ReadCloser
	attempt *attempt
	closed  atomic.Bool
}

func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.attempt.release()
	case b.closed.Load(): // by the caller, while another goroutine of it reads
		b.attempt.release()
	default:
		err = b.attempt.broken(err)
		b.attempt.release()
	}
	return n, err
}

func (b *responseBody) Close() error {
	b.closed.Store(true)
	err := b.body.Close()
	b.attempt.release()
	return err
}

// broken is the error of a body that ended early. It is too late for another attempt: the caller has part of it.
func (a *attempt) broken(err error) error {
	t := a.trip
	e := &resilience.CallError{
		Service:   t.target.service,
		Method:    methodOf(t.req),
		Stopped:   resilience.StopFinal.String(),
		Remaining: time.Until(t.deadline),
	}
	lost := false
	switch {
	case t.ctx.Err() != nil:
		e.Stopped = resilience.StopCanceled.String()
		e.Err = failure.Wrap(t.ctx.Err(), failure.CodeOf(t.ctx.Err()), "the caller did not wait for the rest of the answer")
	case errors.Is(context.Cause(a.ctx), errLate):
		e.Stopped = resilience.StopDeadline.String()
		e.Err = failure.Wrap(err, failure.DeadlineExceeded, "the answer did not end in time")
	default:
		lost = true
		e.Err = failure.Wrap(err, failure.Unavailable, "the connection broke in the middle of the answer")
	}
	last := a.record(e.Err, resilience.MaybeSent)
	last.Duration = time.Since(a.start)
	t.mu.Lock() // another goroutine may be closing the body
	defer t.mu.Unlock()
	if lost {
		a.outcome = resilience.Broken
	}
	if a.outcome == resilience.Broken {
		last.Sent = resilience.SentAndLost
	}
	e.Attempts = append(t.failed, last)
	a.cut = e
	return e
}

// upgradedBody is the body of a 101: a connection.
type upgradedBody struct {
	*responseBody
	io.Writer
}

// CloseWrite says that nothing more is written. What the other side has to say still comes.
func (b upgradedBody) CloseWrite() error { return closeWrite(b.body) }

func closeWrite(c any) error {
	if c, ok := c.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}
