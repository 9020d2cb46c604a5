package holdfast

import (
	"net/http"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rest"
)

// problems is a mux whose own answers are problem+json too: that nothing matches, or not with this method.
type problems struct{ mux *http.ServeMux }

func (p problems) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	own, pattern := p.mux.Handler(r)
	if pattern != "" {
		p.mux.ServeHTTP(w, r) // not the handler itself: the mux sets the path's values
		return
	}
	answer := &statusOnly{ResponseWriter: w}
	own.ServeHTTP(answer, r)
	switch answer.status {
	case http.StatusMethodNotAllowed:
		e := failure.ProblemOf(failure.New(failure.Unimplemented, "%s does not take %s, only %s", r.URL.Path, r.Method, w.Header().Get("Allow")))
		e.Status, e.Title, e.Instance = answer.status, http.StatusText(answer.status), r.URL.EscapedPath()
		_ = e.Write(w) // a client that is gone is nobody to tell
	default:
		rest.Error(w, r, failure.New(failure.NotFound, "there is nothing at %s", r.URL.Path))
	}
}

// statusOnly lets headers through, keeps the status and drops the text.
type statusOnly struct {
	http.ResponseWriter
	status int
}

func (s *statusOnly) WriteHeader(status int) { s.status = status }

func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }
