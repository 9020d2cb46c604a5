//go:build real && unix

package consultest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/consultest"
)

// TestRealServer: a restart keeps the data of one that lasts, an empty disk loses it, a frozen one does not answer, and
// the address stays.
func TestRealServer(t *testing.T) {
	s := consultest.StartLasting(t)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(method string) (string, error) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Proxy.Addr()+"/v1/kv/k?raw", strings.NewReader("v"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return strings.TrimSpace(string(b)), err
	}
	if got, err := ask(http.MethodPut); got != "true" || err != nil {
		t.Fatalf("put: %s, %v", got, err)
	}
	s.Restart()
	if got, err := ask(http.MethodGet); got != "v" || err != nil {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	if err := s.Freeze(); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(10 * time.Second) // on a busy machine it stops some moments later
	for {
		got, err := ask(http.MethodGet)
		if err != nil {
			break
		}
		if time.Now().After(end) {
			t.Errorf("frozen, it answers %q", got)
			break
		}
	}
	if err := s.Thaw(); err != nil {
		t.Fatal(err)
	}
	s.RestartEmpty()
	if got, err := ask(http.MethodGet); got != "" || err != nil {
		t.Errorf("after a restart with an empty disk: %q, %v", got, err)
	}
}
