package resilience

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
)

// Observer is told of the calls that a client makes and of those that a server is given, while they happen. It is how
// package telemetry sees them; with a nil Observer nobody does, and nothing is spent on it.
//
// Its methods are called on the way of every call: they must not block, nor panic. An Observer is safe for concurrent use.
type Observer interface {
	// BeginCall is told of a call that begins, before its first attempt. What it returns is told of the rest of it, up to
	// its End; nil is told nothing.
	BeginCall(ctx context.Context, info CallInfo) CallObserver
	// BeginServe is told of a call that came in, before admission. The context is that of the handler, made of ctx. What
	// it returns is told of the rest, up to its End; nil is told nothing.
	BeginServe(ctx context.Context, info ServeInfo) (context.Context, ServeObserver)
}

// Protocol is what a call is spoken in.
type Protocol uint8

// The protocols.
const (
	GRPC Protocol = iota
	HTTP
)

// CallInfo is what is known of a call when it begins.
type CallInfo struct {
	Protocol Protocol
	Service  string // that is called
	// Method is "/shop.Orders/Place", or "POST".
	Method string
	// Path is that of the URL, without its query. HTTP alone.
	Path string
	// Stream: what is observed is the set-up of a stream.
	Stream      bool
	Begun       time.Time
	Deadline    time.Time
	Criticality Criticality

	// What the call is decided by: to be looked at, not to be changed. Each may be nil.
	Budget  *Budget
	Guard   *Guard
	Latency *Latency
}

// CallObserver is told of one call. BeginAttempt and EndAttempt may be called by two goroutines at a time, for there are
// hedges; End comes last, once.
type CallObserver interface {
	// BeginAttempt is told of an attempt before it is made, and returns what it takes along.
	BeginAttempt(a AttemptInfo) Along
	// EndAttempt is told of the end of an attempt that began, once.
	EndAttempt(a AttemptEnd)
	// End is told of the end of the call. The CallObserver is not used after it.
	End(e CallEnd)
}

// AttemptInfo is what is known of an attempt when it begins.
type AttemptInfo struct {
	// Number counts from 0, hedges included.
	Number int
	Hedge  bool
	Begun  time.Time
	// Deadline is when it is given up; Bounded: although the call goes on then.
	Deadline time.Time
	Bounded  bool
}

// AttemptEnd is how an attempt ended.
type AttemptEnd struct {
	// Number is that of its AttemptInfo.
	Number  int
	Ended   time.Time
	Outcome Outcome
	Sent    Sent
	// Err is nil if it was answered well. Of an answer of HTTP with an error status it may be nil, too.
	Err error
	// Lost: nobody wanted its answer any more, since another one had come. Outcome and Err mean nothing then.
	Lost     bool
	Instance string // its id; empty if none was picked
	Addr     string
	// Status is that of HTTP; 0: there was no answer.
	Status int
	// View and Node are what the instance was picked from, and itself; nil if none was.
	View *balance.View
	Node *balance.Node
	// Keep is what the instance says about why it keeps what it saw of the attempt; empty if it does not say.
	Keep string
}

// CallEnd is how a call ended.
type CallEnd struct {
	Ended time.Time
	// Err is nil, or what the caller gets; a *CallError as a rule.
	Err error
	// Status is that of HTTP; 0: there was no answer.
	Status int
}

// Along is what a call takes along for those who follow it over many services, as W3C Trace Context and W3C Baggage say.
// What is empty is not sent.
type Along struct {
	Traceparent string
	Tracestate  string
	Baggage     string
}

// The names of what is in Along, and of what a server answers with: why it keeps what it saw of a call (a trailer of
// gRPC, a header of HTTP), so that its caller keeps it too. Lower case for gRPC metadata; HTTP finds any spelling.
const (
	HeaderTraceparent = "traceparent"
	HeaderTracestate  = "tracestate"
	HeaderBaggage     = "baggage"
	HeaderKeep        = "x-trace-keep"
)

// ServeInfo is what is known of a call when it comes in.
type ServeInfo struct {
	Protocol Protocol
	// Method is "/shop.Orders/Place", or "POST". It is the caller's word: with HTTP anything that is a token.
	Method string
	// Path is that of the URL, without its query, as it came. HTTP alone.
	Path   string
	Stream bool
	Begun  time.Time
	// Deadline is when its answer is of no use any more; zero if that is never.
	Deadline time.Time
	Request  Request
	// Along is what it took along, as it came; nothing in it is trusted.
	Along Along
}

// ServeObserver is told of one call that is served, by one goroutine at a time.
type ServeObserver interface {
	// Admit is told what admission has said, once, if it was asked.
	Admit(a AdmitInfo)
	// Keep returns why what was seen of the call is kept, if it ends as told; empty if it is not known to be. It is what
	// its caller is told. End may find further reasons.
	Keep(e ServeEnd) string
	// End is told of the end of the call. The ServeObserver is not used after it.
	End(e ServeEnd)
}

// AdmitInfo is what admission has said of a call.
type AdmitInfo struct {
	// At is when it was let in, or refused.
	At time.Time
	// Err is nil if it was let in.
	Err *failure.Error
	// InFlight is how many calls were being served, this one not counted.
	InFlight int
	// Limit says how many may be, if that is known: an admission.Controller.
	Limit interface{ Limit() int }
}

// ServeEnd is how a call ended that was served.
type ServeEnd struct {
	Ended time.Time
	// Code is that of the answer.
	Code failure.Code
	// Err is what the handler returned, or nil.
	Err error
	// Status is that of HTTP.
	Status int
	// Route is the pattern that the request of HTTP has matched, such as "/orders/{id}"; empty if that is not known.
	Route string
	// Stream: the answer of HTTP was of a kind that lasts as long as both sides like.
	Stream bool
}
