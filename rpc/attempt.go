package rpc

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// pushbackHeader is the trailer by which a server says when, or that no, further attempt is welcome (gRFC A6).
const pushbackHeader = "grpc-retry-pushback-ms"

// attempt is one attempt of a call. It is the context of the attempt too, so that picker and interceptor find each
// other through PickInfo.Ctx.
type attempt struct {
	lifetime
	call  *call
	plan  resilience.Plan
	start time.Time

	// none is the picker that had no instance, if that was so. Set in the goroutine that makes the attempt.
	none *noPicker
	// luggage is what it takes along, if that is no more than its place in a trace.
	luggage luggage

	// Guarded by call.mu: grpc-go may pick twice for an attempt (its transparent retry), and end a stream anywhere.
	inst     instance
	node     *balance.Node     // of inst
	since    time.Time         // that it was picked
	view     *balance.View     // that it was picked from
	balancer *balance.Balancer // that is told of it
	alone    bool              // there was no other instance to choose, or none that may be
	lost     bool              // cancelled, because another attempt was answered
	worth    balance.Sample    // of that, for the latency of node
	sent     resilience.Sent
	received bool // something came back: a status is the instance's
	pushback time.Duration
	ended    time.Time
	keep     string      // what the server says about why it keeps what it saw
	open     bool        // it has ended well, as far as grpc-go has said: see done
	trailer  metadata.MD // of what is open
	alive    bool        // a stream whose first message was counted in its instance's favour
	flowing  bool        // a stream that is the user's
	flowed   *streamEnd

	spared bool // guarded by the target's alarms
}

// spare extends an attempt whose time ran out while the process stood still, once, if its call has more time. It reports
// whether it did.
func (a *attempt) spare(until time.Time) bool {
	if a.spared {
		return false
	}
	if end := a.call.deadline; until.After(end) {
		until = end
	}
	a.spared = a.extend(until)
	return a.spared
}

type attemptKey struct{}

// Value implements context.Context.
func (a *attempt) Value(key any) any {
	if key == (attemptKey{}) {
		return a
	}
	if a.luggage.value != nil && key == outgoingKey {
		return a.luggage.value
	}
	return a.Context.Value(key)
}

// attemptOf returns the attempt that is made with ctx, or nil.
func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// picking returns the time, the nodes that failed the call, and whether it may run twice.
func (a *attempt) picking() (time.Time, []*balance.Node, bool) {
	a.call.mu.Lock()
	if a.inst.addr == "" { // has just begun, and asking for the time costs more than the rest of a pick
		defer a.call.mu.Unlock()
		a.sent = resilience.NotSent // until an instance is picked and has a transport
		return a.start, a.call.tried, a.call.safe
	}
	a.call.mu.Unlock()
	a.settle(nil)
	a.call.mu.Lock()
	defer a.call.mu.Unlock()
	return time.Now(), a.call.tried, a.call.safe
}

// picked is told which instance was picked, and from what.
func (a *attempt) picked(now time.Time, inst instance, node *balance.Node, view *balance.View, by *balance.Balancer) {
	a.call.mu.Lock()
	defer a.call.mu.Unlock()
	a.inst, a.node, a.since, a.view, a.balancer = inst, node, now, view, by
	a.alone = !view.Untried(now, node)
	a.sent, a.none, a.received, a.flowed = resilience.MaybeSent, nil, false, nil
	if a.alone && a.plan.Bounded && a.call.keep && a.extend(a.call.deadline) {
		// There is nobody who would answer instead, and what is cut off and sent again is done twice. What is sent along
		// with the request is made of the deadline after this.
		a.plan.Bounded, a.plan.Deadline = false, a.call.deadline
	}
}

// unpicked is told that there was no instance to pick. If one was picked before, it has not seen the call: within an
// attempt grpc-go picks again only where it knows that.
func (a *attempt) unpicked(none *noPicker) {
	a.call.mu.Lock()
	defer a.call.mu.Unlock()
	a.sent, a.none = resilience.NotSent, none
}

// done is told how it went there until now, and returns what that says about the instance's latency and health.
//
// No error is no end yet. grpc-go also says so of what the server has ended before a message of ours was written; with
// which error, only their callers learn. What it was worth is found by settle then.
func (a *attempt) done(now time.Time, node *balance.Node, d balancer.DoneInfo) (balance.Sample, balance.Health) {
	a.call.mu.Lock()
	defer a.call.mu.Unlock()
	a.ended, a.received = now, d.BytesReceived
	if a.call.watch != nil {
		a.keep = one(d.Trailer[resilience.HeaderKeep])
	}
	if !d.BytesSent {
		a.sent = resilience.NotSent
	}
	switch {
	case d.Err != nil:
		return a.failed(now, node, status.Convert(d.Err), d.Trailer)
	case !d.BytesSent: // never had a transport
		return balance.None, balance.Neutral
	case d.BytesReceived, a.call.stream:
		a.open, a.trailer = true, d.Trailer
		return balance.None, balance.Neutral
	}
	// No success: the stream was over when the request was about to be written (see errLostEarly).
	a.sent = resilience.NotSent
	a.call.tried = append(a.call.tried, node)
	return balance.None, resilience.Unsent.Verdict().Health
}

// settle is told how the attempt has ended for whoever made it, and tells the balancer what that says if done could not.
// nil without an answer is what grpc-go tries again: the instance has not begun with it.
func (a *attempt) settle(err error) {
	a.call.mu.Lock()
	if !a.open {
		a.call.mu.Unlock()
		return
	}
	a.open = false
	by, node, since, ended := a.balancer, a.node, a.since, a.ended
	sample, health := a.worthOf(err)
	a.call.mu.Unlock()
	by.Learn(node, ended, since, sample, health)
}

// worthOf returns what is to be learnt of an end that was open. It is called with the call's mutex held.
func (a *attempt) worthOf(err error) (balance.Sample, balance.Health) {
	if errors.Is(err, io.EOF) || err == nil && !a.received {
		err = errLostEarly
	}
	switch {
	case err != nil:
		return a.failed(a.ended, a.node, failure.Status(err), a.trailer)
	case !a.call.stream:
		return balance.Latency, balance.Good
	case a.alive: // and that was said of it
		return balance.None, balance.Neutral
	default: // lasted as long as both sides liked
		return balance.None, balance.Good
	}
}

// heard is told that the first message of a stream has come.
func (a *attempt) heard() {
	a.call.mu.Lock()
	by, node, since, over := a.balancer, a.node, a.since, a.flowed != nil
	a.call.mu.Unlock()
	if node == nil || over { // not by a picker of ours, or it was the last one, too
		return
	}
	alive := by.Alive(node, time.Now(), since)
	a.call.mu.Lock()
	a.alive = alive
	a.call.mu.Unlock()
}

// failed returns what an end with an error says about the instance's latency and health. It is called with the call's
// mutex held.
func (a *attempt) failed(now time.Time, node *balance.Node, st *status.Status, trailer metadata.MD) (balance.Sample, balance.Health) {
	if a.unprocessed(st) {
		a.sent = resilience.NotSent
	}
	if st.Code() == codes.Canceled && a.lost {
		return a.worth, balance.Neutral
	}
	if a.endedThere(now, st.Code()) {
		st = status.New(codes.DeadlineExceeded, st.Message())
	}
	if st.Code() != codes.Canceled {
		a.call.tried = append(a.call.tried, node)
	}
	a.pushback = pushback(st, trailer)
	e := &failure.Error{Code: failure.Code(st.Code())}
	if e.Code == failure.ResourceExhausted || e.Code == failure.Aborted { // who said so is in the details
		e = failure.FromStatus(st)
	}
	v := a.plan.Classify(e, a.sent, now.Sub(a.start)).Verdict()
	if a.call.stream {
		return balance.None, v.Health
	}
	return v.Sample, v.Health
}

// endedThere reports whether code is how the instance ended the attempt at the deadline that it was told: it has only the
// words of a cancellation for it, and who called has not canceled anything. Here the deadline was extended since, or rings late.
func (a *attempt) endedThere(now time.Time, code codes.Code) bool {
	return code == codes.Canceled && !a.call.stream && !a.lost && !now.Before(a.plan.Deadline) && !errors.Is(a.Context.Err(), context.Canceled)
}

// unprocessed reports whether the transport says that the server has not begun with the call: its GOAWAY excluded it,
// or it refused the stream. grpc-go tells so in these texts only. The first time it retries by itself.
func (a *attempt) unprocessed(st *status.Status) bool {
	return !a.received && st.Code() == codes.Unavailable &&
		(st.Message() == "the connection is draining" || strings.HasSuffix(st.Message(), "error code: REFUSED_STREAM"))
}

// pushback returns how long the server wants to be left alone: 0 if it does not say.
func pushback(st *status.Status, trailer metadata.MD) time.Duration {
	if values := trailer.Get(pushbackHeader); len(values) > 0 {
		ms, err := strconv.ParseInt(values[0], 10, 32)
		if err != nil || ms < 0 || len(values) > 1 { // by gRFC A6, what cannot be read means no
			return resilience.Never
		}
		return max(time.Duration(ms)*time.Millisecond, resilience.AtOnce)
	}
	if len(st.Proto().GetDetails()) == 0 {
		return 0
	}
	return failure.FromStatus(st).RetryAfter
}

// errLostEarly is what grpc-go reports as io.EOF, or as an attempt without error and without an answer: a connection that
// went between the beginning of a unary call and its request. The request has not been handed to the transport then.
var errLostEarly = failure.New(failure.Unavailable, "the connection was lost before the request was sent")

// broken reports whether e is grpc-go's own description of a connection that broke under the call. It has both addresses
// in it, and is for logs only.
func (a *attempt) broken(e *failure.Error) bool {
	return e.Code == failure.Unavailable && !a.ended.IsZero() &&
		(!a.received || strings.HasPrefix(e.Message, "error reading from server: ") || strings.HasPrefix(e.Message, "closing transport due to: "))
}

// failure returns err, the end of the attempt, as what its caller gets to see. ctx is the call's. It is called with the
// call's mutex held.
func (a *attempt) failure(ctx context.Context, now time.Time, err error) *failure.Error {
	if a.none != nil {
		return a.none.failure(a.call.target.service)
	}
	var e *failure.Error
	if errors.Is(err, io.EOF) && !a.call.stream {
		e = errLostEarly
	} else if s, ok := err.(interface{ GRPCStatus() *status.Status }); ok { // what wraps one is kept by From
		e = failure.FromStatus(s.GRPCStatus())
	}
	if e == nil {
		e = failure.From(err)
	}
	if a.endedThere(now, codes.Code(e.Code)) {
		e = failure.Wrap(err, failure.DeadlineExceeded, "%s did not answer in the time of the attempt", a.call.target.service)
	}
	if e != errLostEarly && a.broken(e) {
		if a.sent == resilience.MaybeSent {
			a.sent = resilience.SentAndLost
		}
		return failure.Wrap(err, failure.Unavailable, "the connection to %s broke before its answer was complete", a.call.target.service)
	}
	// The end of a context is an error of this side, and is one for errors.Is too.
	switch cause := ctx.Err(); {
	case e.Cause != nil:
	case cause != nil && failure.CodeOf(cause) == e.Code:
		e = e.WithCause(cause)
	case e.Code == failure.DeadlineExceeded && !now.Before(a.plan.Deadline) && !a.call.stream:
		e = e.WithCause(context.DeadlineExceeded)
	}
	return e
}

// outcome classifies the end of the attempt, for the loop. It is called with the call's mutex held.
func (a *attempt) outcome(now time.Time, e *failure.Error) (resilience.Outcome, time.Duration) {
	if a.none != nil {
		return resilience.NoInstance, 0
	}
	o := a.plan.Classify(e, a.sent, now.Sub(a.start))
	if o == resilience.UnderWay && !a.call.keyed { // the answer passes on what it was told further in
		o = resilience.Aborted
	}
	return o, a.pushback
}

// whenEnded returns when the attempt ended that has just succeeded. It is called with the call's mutex held.
func (a *attempt) whenEnded() time.Time {
	if a.ended.IsZero() { // not by a picker of ours
		return time.Now()
	}
	return a.ended
}

// record describes the attempt for the call's error.
func (a *attempt) record(now time.Time, err error) resilience.Attempt {
	a.call.mu.Lock()
	defer a.call.mu.Unlock()
	return resilience.Attempt{Instance: a.inst.id, Addr: a.inst.addr, Duration: now.Sub(a.start), Err: err, Sent: a.sent, Hedge: a.plan.Hedged}
}
