package load_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/drill/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handler is a system in this process: what a handler answers, without a network.
type handler func(w http.ResponseWriter, r *http.Request)

func (h handler) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	h(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// prepare prepares a call to a handler.
func prepare(t *testing.T, h handler, vars []string, call load.Call) *load.Prepared {
	t.Helper()
	p, err := caller(t, h).Prepare(t.Context(), vars, call)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func caller(t *testing.T, h handler) *load.Caller {
	t.Helper()
	c := load.NewCaller(load.Target{Edges: map[string]string{"gateway": "http://gateway"}, HTTP: h})
	t.Cleanup(c.Close)
	return c
}

// do makes one call.
func do(t *testing.T, h handler, call load.Call, vars load.Values) load.Sample {
	t.Helper()
	var names []string
	for name := range vars {
		names = append(names, name)
	}
	return prepare(t, h, names, call).Do(context.WithoutCancel(t.Context()), load.Draw{}, vars)
}
