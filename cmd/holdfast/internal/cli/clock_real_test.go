//go:build real && unix

package cli_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// wristwatch is a service that is not Holdfast's, and says what time it is.
const wristwatch = `package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	fmt.Println(http.ListenAndServe(os.Getenv("HOLDFAST_HTTP_ADDR"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, time.Now().UnixNano())
	})))
}
`

// The clock of one instance is wrong while a fault says so, in the process that is started meanwhile, too, and nobody else's.
func TestRealClock(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":        "module watches\n",
		"watch/main.go": wristwatch,
		"system.yaml": "system: watches\nregistry: etcd://127.0.0.1:1\nservices:\n" +
			"  watch: {run: ./watch, replicas: 2}\n  wall: {run: " + yaml(service()) + "}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := startIn(t, dir, "--clock")
	eventuallyWithin(t, 5*time.Minute, "ready", func() bool { // the standard library is compiled for it, once
		return strings.Contains(s.out.String(), "is ready in") || len(s.code) > 0
	})
	s.await(t, "is ready in")
	wrong := func(id string) time.Duration {
		t.Helper()
		code, text := ask(t, s.ps(t)[id].Addr)
		n, err := strconv.ParseInt(text, 10, 64)
		if code != http.StatusOK || err != nil {
			t.Fatalf("%s answers %d %q", id, code, text)
		}
		return time.Until(time.Unix(0, n)).Round(time.Minute)
	}
	c, ctx := s.client(t), context.Background()
	req := control.FaultRequest{Kind: control.FaultClock, TTL: control.MaxTTL, Targets: []string{"watch-1"}, Jump: -3 * time.Hour}
	f, err := c.Inject(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if one, two := wrong("watch-1"), wrong("watch-2"); one != -3*time.Hour || two != 0 {
		t.Errorf("the clocks are wrong by %s and %s", one, two)
	}
	s.do(t, "kill", "watch-1")
	s.await(t, "watch-1 ready again")
	if by := wrong("watch-1"); by != -3*time.Hour {
		t.Errorf("in the next process it is wrong by %s", by)
	}
	if err := c.Mend(ctx, f.ID); err != nil {
		t.Fatal(err)
	}
	if by := wrong("watch-1"); by != 0 {
		t.Errorf("after it was mended it is wrong by %s", by)
	}
	req.Targets = []string{"wall-1"}
	if _, err := c.Inject(ctx, req); failure.CodeOf(err) != failure.FailedPrecondition || !strings.Contains(err.Error(), "--clock") {
		t.Errorf("a command: %v", err)
	}
}

// ask asks an HTTP server, on a connection of its own.
func ask(t *testing.T, addr string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func (s *runningSystem) client(t *testing.T) *control.Client {
	t.Helper()
	c := control.NewClient(s.control)
	t.Cleanup(func() { c.Close() })
	return c
}
