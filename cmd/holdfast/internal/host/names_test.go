//go:build unix

package host

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/internal/fault"
)

// An instance that registers as something else than its service is told of, once, and again if it is another name. Processes that
// were asked, foreign programs, and who is gone are not asked.
func TestAnInstanceUnderAnotherNameIsToldOf(t *testing.T) {
	calls := make(map[string]string) // by admin: the name
	var askedOf []string
	n := &names{
		asked: make(map[string]asked), told: make(map[string]string),
		ask: func(_ context.Context, admin string) (string, error) {
			askedOf = append(askedOf, admin)
			if calls[admin] == "" {
				return "", errors.New("frozen")
			}
			return calls[admin], nil
		},
	}
	service := map[string]string{"hello-1": "hello", "hello-2": "hello", "foreign-1": "foreign"}
	look := func(s said, want string, asks ...string) {
		t.Helper()
		askedOf = nil
		var got []string
		for _, e := range n.look(t.Context(), s, service) {
			got = append(got, e.Instance+" of "+e.Service+": "+e.Message)
		}
		if strings.Join(got, "\n") != want || !slices.Equal(askedOf, asks) {
			t.Errorf("got %q, want %q; asked %q, want %q", got, want, askedOf, asks)
		}
	}
	at := func(admin string) fault.State { return fault.State{Admin: admin} }
	calls["a"], calls["b"] = "greet", "hello"
	all := said{"hello-1": says(1, at("a")), "hello-2": says(2, at("b")), "foreign-1": says(3, at("")), "gone-1": says(4, at("g"))}
	look(all, `hello-1 of hello: hello-1 registers as "greet": nobody finds it as hello`, "a", "b")
	look(all, "")
	look(said{"hello-1": says(5, at("c"))}, "", "c") // it does not answer
	calls["c"] = "greet"
	look(said{"hello-1": says(5, at("c"))}, "", "c") // a new process, of which that is known
	calls["d"], calls["e"] = "hello", "greet"
	look(said{"hello-1": says(6, at("d"))}, "", "d") // it was repaired
	look(said{"hello-1": says(7, at("e"))}, `hello-1 of hello: hello-1 registers as "greet": nobody finds it as hello`, "e")
	silent := said{"hello-2": says(8, at("f"))}
	for range nameTries {
		look(silent, "", "f")
	}
	look(silent, "") // enough
	delete(service, "hello-1")
	if look(said{}, ""); len(n.asked) != 1 || len(n.told) != 0 {
		t.Errorf("kept %v, %v", n.asked, n.told)
	}
}

// What a process of Holdfast is asked, and what it answers, is what Config.Admin has at /buildinfo.
func TestTheNameOfAProcess(t *testing.T) {
	body, status := `{"service": "greet", "instance": "hello-1"}`, http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/buildinfo" {
			t.Error("asked for", r.URL)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	defer server.Close()
	addr := server.Listener.Addr().String()
	if name, err := askName(t.Context(), server.Client(), addr); name != "greet" || err != nil {
		t.Errorf("got %q, %v", name, err)
	}
	body = "no JSON"
	if _, err := askName(t.Context(), server.Client(), addr); err == nil {
		t.Error("no error")
	}
	status = http.StatusForbidden
	if _, err := askName(t.Context(), server.Client(), addr); err == nil {
		t.Error("no error")
	}
}
