package control

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const streamType = "application/x-ndjson"

func (h *handler) logs(w http.ResponseWriter, r *http.Request) {
	q, err := parseLogQuery(r.URL.Query())
	if err == nil && q.Service != "" {
		err = h.hasLines(r.Context(), q.Service)
	}
	if err != nil {
		failure.WriteProblem(w, err)
		return
	}
	stream(h, w, r, func(ctx context.Context, begun func(), emit func(LogLine) error) error {
		begun()
		return h.system.Logs(ctx, q, emit)
	})
}

// hasLines returns an error if nothing is called name that may have written lines.
func (h *handler) hasLines(ctx context.Context, name string) error {
	info, instances := h.system.Info(), h.system.Instances()
	_, err := resolve(info, instances, name)
	switch failure.CodeOf(err) { //nolint:exhaustive // the others are none of resolve
	case failure.FailedPrecondition:
		return nil // a service without instances may still have lines
	case failure.NotFound:
		// So may an instance that is gone. The system knows, and is asked before the stream has begun, which has no status left.
		service, ok := serviceOfID(name)
		if !ok || !slices.Contains(serviceNames(info, instances), service) {
			return err
		}
		gone := h.system.Logs(ctx, LogQuery{Service: name, Lines: 1}, func(LogLine) error { return nil })
		if failure.CodeOf(gone) != failure.NotFound {
			return gone
		}
	}
	return err
}

func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	q, err := parseEventQuery(r.URL.Query())
	if err != nil {
		failure.WriteProblem(w, err)
		return
	}
	stream(h, w, r, func(ctx context.Context, begun func(), emit func(Event) error) error {
		return eventsOf(ctx, h.system, q, begun, emit)
	})
}

// stream writes what source emits, each value as a line of JSON, flushed at once. The headers go out when source says that it has
// begun: who follows a quiet service knows by them that it is connected, and may then do what it wants to see the events of. A reader that stops (a pager does) loses lines
// at the source, which is bounded; when all that lies in between is full, too, it has writeTimeout to go on, and is cut off then: it
// holds one of the slots for streams, which are bounded.
func stream[T any](h *handler, w http.ResponseWriter, r *http.Request, source func(ctx context.Context, begun func(), emit func(T) error) error) {
	if !take(h.streams, "logs and events", w) {
		return
	}
	defer func() { <-h.streams }()
	ctx, cancel := letIn(r)
	defer cancel()
	w.Header().Set("Content-Type", streamType)
	rc := http.NewResponseController(w)
	if r.Method == http.MethodHead {
		return
	}
	enc := json.NewEncoder(w)
	begun := func() { _ = rc.Flush() } // whoever has gone is seen at the first value, and by the context
	err := source(ctx, begun, func(v T) error {
		if err := enc.Encode(v); err != nil {
			return err
		}
		return rc.Flush()
	})
	breakOff(ctx, r, err)
}

// breakOff breaks the connection of a stream that has not come to its end: its source has failed (err), or the right to it has
// ended (ctx is that of letIn). The status is gone out already, and there is no other way left to say so.
func breakOff(ctx context.Context, r *http.Request, err error) {
	if (err != nil || ctx.Err() != nil) && r.Context().Err() == nil {
		panic(http.ErrAbortHandler)
	}
}

// take takes a slot for a stream, to be given back, or answers that there is none.
func take(slots chan struct{}, of string, w http.ResponseWriter) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
		failure.WriteProblem(w, failure.New(failure.ResourceExhausted, "%d streams of %s are open; close one", cap(slots), of))
		return false
	}
}

// letIn returns the context of a stream. It ends with the request, and with the right to it: who has logged out, or has a token
// that is void by now, sees nothing more.
func letIn(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	has := grantOf(r)
	if has.over == nil {
		return ctx, cancel
	}
	go func() {
		var late <-chan time.Time
		if !has.until.IsZero() {
			t := time.NewTimer(time.Until(has.until))
			defer t.Stop()
			late = t.C
		}
		select {
		case <-late:
		case <-has.over:
		case <-ctx.Done():
		}
		cancel()
	}()
	return ctx, cancel
}

// EventKeeper is a [System] that keeps what has happened.
type EventKeeper interface {
	// EventsOf hands at most q.Last kept events to emit, oldest first, and then, with q.Follow, what happens from then on,
	// without a gap and none twice. It calls begun before that, as soon as nothing that happens is missed any more. It is like
	// Events otherwise.
	EventsOf(ctx context.Context, q EventQuery, begun func(), emit func(Event) error) error
}

func eventsOf(ctx context.Context, s System, q EventQuery, begun func(), emit func(Event) error) error {
	if k, ok := s.(EventKeeper); ok {
		return k.EventsOf(ctx, q, begun, emit)
	}
	begun()
	if !q.Follow {
		return nil
	}
	return s.Events(ctx, emit)
}
