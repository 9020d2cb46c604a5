package control

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/holdfast-go/holdfast/failure"
)

const streamType = "application/x-ndjson"

func (h *handler) logs(w http.ResponseWriter, r *http.Request) {
	q, err := parseLogQuery(r.URL.Query())
	if err == nil && q.Service != "" {
		_, err = resolve(h.system.Info(), h.system.Instances(), q.Service)
		if failure.CodeOf(err) == failure.FailedPrecondition {
			err = nil // a service without instances may still have lines
		}
	}
	if err != nil {
		failure.WriteProblem(w, err)
		return
	}
	stream(h, w, r, func(ctx context.Context, emit func(LogLine) error) error {
		return h.system.Logs(ctx, q, emit)
	})
}

func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	stream(h, w, r, h.system.Events)
}

// stream writes what source emits, each value as a line of JSON, flushed at once. It has no write deadline: a
// reader may stop for as long as it likes (a pager does), it then loses lines at the source, which is bounded, and
// holds one of the slots for streams, which are bounded too.
func stream[T any](h *handler, w http.ResponseWriter, r *http.Request, source func(context.Context, func(T) error) error) {
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		failure.WriteProblem(w, failure.New(failure.ResourceExhausted, "%d streams of logs and events are open; close one", maxStreams))
		return
	}
	w.Header().Set("Content-Type", streamType)
	rc := http.NewResponseController(w)
	// The headers go out at once: who follows a quiet service should know that it is connected.
	if err := rc.Flush(); err != nil {
		return
	}
	enc := json.NewEncoder(w)
	err := source(r.Context(), func(v T) error {
		if err := enc.Encode(v); err != nil {
			return err
		}
		return rc.Flush()
	})
	if err != nil && r.Context().Err() == nil {
		// The status is gone out already: breaking the connection is the only way left to say that this is not
		// the end of the stream.
		panic(http.ErrAbortHandler)
	}
}
