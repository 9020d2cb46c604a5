package resilience

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/failure"
)

// Attempt is what one attempt of a failed call met.
type Attempt struct {
	Instance string // its id; empty if none was chosen
	Addr     string // where it was tried
	Duration time.Duration
	Err      error
	Sent     Sent
	Hedge    bool // made beside another one, because that took long
}

// CallError is the error of a call that failed, after all its attempts. errors.Is, errors.As, failure.CodeOf and
// status.FromError see through it to the last attempt's error.
type CallError struct {
	Service   string        // the name that was called, such as "inventory"
	Method    string        // such as "/shop.Inventory/Reserve" or "GET /stock"
	Attempts  []Attempt     // in order; empty if the call failed before the first
	Stopped   string        // why there was no further attempt; see Stop
	RefusedBy string        // what on this side refused it, or a further attempt: "budget", "throttle", …; see Stop.Refused
	Remaining time.Duration // of the total deadline when it failed; not positive if it had passed
	Err       error         // of the last attempt; never nil
}

// Error returns one line that names the instance and the attempts. It is for logs: addresses are in it. What a caller
// of ours gets to see is GRPCStatus.
func (e *CallError) Error() string {
	if e == nil { // as of GRPCStatus
		return "no error"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "call %s %s: ", e.Service, e.Method)
	for i, a := range e.Attempts {
		if i > 0 {
			b.WriteString("; ")
		}
		if len(e.Attempts) > 1 {
			b.WriteString(kinds[a.Hedge])
			fmt.Fprintf(&b, " %d ", i+1)
		}
		a.write(&b)
	}
	if len(e.Attempts) == 0 {
		fmt.Fprintf(&b, "%v", e.Err)
	}
	if e.Stopped != "" {
		fmt.Fprintf(&b, "; no further attempt: %s", e.Stopped)
	}
	if e.Remaining > 0 {
		fmt.Fprintf(&b, "; %v of the deadline left", short(e.Remaining))
	}
	return b.String()
}

var kinds = map[bool]string{false: "attempt", true: "hedge"}

func (a Attempt) write(b *strings.Builder) {
	switch {
	case a.Instance == "" && a.Addr == "":
		b.WriteString("without an instance")
	case a.Instance == "":
		fmt.Fprintf(b, "at %s", a.Addr)
	case a.Addr == "":
		fmt.Fprintf(b, "at %s", a.Instance)
	default:
		fmt.Fprintf(b, "at %s (%s)", a.Instance, a.Addr)
	}
	fmt.Fprintf(b, " after %v", short(a.Duration))
	if a.Sent == NotSent {
		b.WriteString(", not sent")
	}
	fmt.Fprintf(b, ": %v", a.Err)
}

// Unwrap returns the last attempt's error.
func (e *CallError) Unwrap() error {
	if e == nil { // as of GRPCStatus
		return nil
	}
	return e.Err
}

// givenUp is what GRPCStatus asks callers to wait: longer than any wait within a call, so that it ends their loops.
const givenUp = time.Second

// GRPCStatus returns the last attempt's error as a status, for a server that returns this error to its own caller. It
// carries nothing of the attempts, so addresses stay here, and none of our own reasons, which are about the callee.
// UNAVAILABLE asks the caller to come back in a second, if the callee has not asked for something itself and it was not
// safety alone that ended the call: trying again is the task of the layer next to the failure, and has been done; if each
// layer did, the attempts would multiply.
func (e *CallError) GRPCStatus() *status.Status {
	if e == nil { // somebody's errors.As found none, and returns it
		return status.New(codes.Internal, "no error")
	}
	f := failure.From(e.Err)
	if f.Domain == failure.Domain {
		// That the callee, or this client of it, refused the call is no word of the server that passes it on, which has
		// begun with its own.
		f = f.WithReason("", "")
	}
	if n := len(e.Attempts); n > 0 && e.Attempts[n-1].Sent == NotSent {
		// This error was made here, not by the callee, and names what could not be reached.
		f = failure.New(f.Code, "%s cannot be reached", e.Service).WithRetryAfter(f.RetryAfter)
	}
	if f.Code == failure.Unavailable && f.RetryAfter <= 0 && e.Stopped != StopUnsafe.String() {
		f = f.WithRetryAfter(givenUp)
	}
	return f.GRPCStatus()
}

// LogValue is the error for a structured log.
func (e *CallError) LogValue() slog.Value {
	attempts := make([]slog.Attr, len(e.Attempts))
	for i, a := range e.Attempts {
		attempts[i] = slog.Group(fmt.Sprint(i+1),
			slog.String("instance", a.Instance), slog.String("addr", a.Addr), slog.Duration("duration", a.Duration),
			slog.String("sent", a.Sent.String()), slog.Bool("hedge", a.Hedge), slog.String("error", fmt.Sprint(a.Err)))
	}
	attrs := []slog.Attr{
		slog.String("service", e.Service), slog.String("method", e.Method),
		slog.String("code", failure.CodeOf(e.Err).String()),
		slog.String("error", fmt.Sprint(e.Err)),
		slog.String("stopped", e.Stopped), slog.Duration("remaining", e.Remaining),
	}
	if e.RefusedBy != "" {
		attrs = append(attrs, slog.String("refused_by", e.RefusedBy))
	}
	if n := len(e.Attempts); n > 0 {
		attrs = append(attrs, slog.String("instance", e.Attempts[n-1].Instance))
	}
	return slog.GroupValue(append(attrs, slog.Attr{Key: "attempts", Value: slog.GroupValue(attempts...)})...)
}

// short rounds a duration to what one wants to read.
func short(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > 10*time.Millisecond:
		return d.Round(time.Millisecond)
	default:
		return d.Round(10 * time.Microsecond)
	}
}
