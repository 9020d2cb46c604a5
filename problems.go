package holdfast

import (
	"net/http"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rest"
)

// problems is a mux whose own answers are problem+json too: that nothing matches, or not with this method.
type problems struct {
	mux    *http.ServeMux
	health string // where the instance is asked whether it is well
}

func (p problems) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	own, pattern := p.mux.Handler(r)
	if r.URL.Path == p.health && catchesAll(own, pattern, p.health) {
		rest.Error(w, r, failure.New(failure.NotFound, "there is nothing at %s", r.URL.Path))
		return
	}
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

// catchesAll reports whether a handler gets what is asked for at a path only since it gets everything. A function that does, such as one
// that forwards to another service, has no answer to whether this instance is well; a router may have one.
func catchesAll(handler http.Handler, pattern, path string) bool {
	_, function := handler.(http.HandlerFunc)
	return function && pattern != "" && !strings.HasSuffix(pattern, path)
}

// statusOnly lets headers through, keeps the status and drops the text.
type statusOnly struct {
	http.ResponseWriter
	status int
}

func (s *statusOnly) WriteHeader(status int) { s.status = status }

func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }
