package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/resilience"
)

// gaveUpRetryAfter is longer than any backoff within a call, so that it ends the retry loops of all callers.
const gaveUpRetryAfter = time.Second

// Error answers r with err as application/problem+json, by the mapping of package failure. Causes stay inside: those of
// Unknown, Internal and DataLoss, which the client learns nothing of, are logged here, since nobody else sees them.
// It must not be called once the answer has begun, nor with a nil err.
//
// Three kinds of error are known here beyond that mapping. A body over the limit (*http.MaxBytesError) is a 413. Canceled is
// DeadlineExceeded if the time of r is over: it was that which canceled, and not the client. And the Unavailable of a call
// that this service has made and given up on carries a Retry-After: it tells the retry loops of the callers that repeating
// was already done here, so that not every layer multiplies the load.
func Error(w http.ResponseWriter, r *http.Request, err error) {
	if failure.CodeOf(err) == failure.Canceled && timeIsOver(r.Context()) {
		err = failure.Wrap(err, failure.DeadlineExceeded, "the request took longer than its deadline")
	}
	write(w, r, problemOf(err), err)
}

// ErrorStatus is Error with a status that HTTP has and failure.Code has not, such as 405 or 415.
func ErrorStatus(w http.ResponseWriter, r *http.Request, status int, err error) {
	p := problemOf(err)
	p.Status = status
	p.Title = http.StatusText(status)
	write(w, r, p, err)
}

func write(w http.ResponseWriter, r *http.Request, p failure.Problem, err error) {
	p.Instance = r.URL.EscapedPath()
	noteFailure(r.Context(), err)
	switch failure.CodeOf(err) {
	case failure.OK, failure.Unknown, failure.Internal, failure.DataLoss:
		logger(r.Context()).LogAttrs(r.Context(), slog.LevelError, "request failed",
			slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", err))
	default:
	}
	_ = p.Write(w) // a client that is gone is nobody to tell
}

func problemOf(err error) failure.Problem {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		p := failure.ProblemOf(failure.New(failure.InvalidArgument, "the body is larger than %d bytes", tooLarge.Limit).
			WithReason("BODY_TOO_LARGE", "holdfast"))
		p.Status = http.StatusRequestEntityTooLarge
		p.Title = http.StatusText(p.Status)
		return p
	}
	if err == nil {
		err = failure.New(failure.Internal, "internal error")
	}
	e := failure.From(err)
	if _, refused := admission.Pushback(e); refused || e.Local() {
		// Passed on from somewhere else it would tell the client that its request has not run here. Our own refusals do
		// not come this way.
		e = e.WithReason("", "")
	}
	if e.Code == failure.Unavailable && e.RetryAfter <= 0 && gaveUp(err) {
		return failure.ProblemOf(e.WithRetryAfter(gaveUpRetryAfter))
	}
	return failure.ProblemOf(e)
}

// refuse answers a request that was not let in. Unlike Error it says so as this server's own word.
func refuse(w http.ResponseWriter, r *http.Request, e *failure.Error) {
	p := refusalOf(e)
	p.Instance = r.URL.EscapedPath()
	_ = p.Write(w)
}

// refusalOf is the problem of a request that was not let in. A server that has too much to do is 503, whereas 429 is for a
// caller that has asked for too much.
func refusalOf(e *failure.Error) failure.Problem {
	p := failure.ProblemOf(e)
	if e.Shed() {
		p.Status = http.StatusServiceUnavailable
		p.Title = http.StatusText(p.Status)
	}
	return p
}

// Panicked logs a panic that was contained with its stack, and answers 500 without a word of it. If the answer has
// begun, or the panic was http.ErrAbortHandler, it panics with http.ErrAbortHandler: the client has part of an answer, and
// only a connection that is cut tells it that this was not all. A Handler does so for what it wraps; this is
// for routers that contain panics themselves.
func Panicked(w http.ResponseWriter, r *http.Request, begun bool, p *lifecycle.PanicError) {
	if p.Value == http.ErrAbortHandler { //nolint:errorlint // the very value is the convention
		panic(http.ErrAbortHandler)
	}
	logger(r.Context()).LogAttrs(r.Context(), slog.LevelError, "handler panicked",
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", p))
	noteFailure(r.Context(), p)
	if begun {
		panic(http.ErrAbortHandler)
	}
	// Not by Error: it would log once more.
	problem := problemOf(failure.New(failure.Internal, "internal error"))
	problem.Instance = r.URL.EscapedPath()
	_ = problem.Write(w)
}

// logger is that of the Handler which serves the request of ctx.
func logger(ctx context.Context) *slog.Logger {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x.handler.cfg.Logger
	}
	return slog.Default()
}

// gaveUp reports whether err comes from a call of this service that was tried as often as it may be. One that
// must not be repeated as far as we know is left to the callers, who may know better.
func gaveUp(err error) bool {
	var call *resilience.CallError
	return errors.As(err, &call) && call.Stopped != resilience.StopUnsafe.String()
}
