//go:build unix

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// brittle is a terminal on which drawing fails as badly as it can.
type brittle struct{ written strings.Builder }

func (b *brittle) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), "\x1b[H") {
		panic("drawn")
	}
	return b.written.Write(p)
}

// Whatever happens in it, the terminal is given back: nobody could type in it otherwise.
func TestTopGivesTheTerminalBackWhenItPanics(t *testing.T) {
	out := &brittle{}
	a := &app{Process: Process{Out: out, In: strings.NewReader("")}}
	v := &topView{sort: "name"}
	v.update(topSample(time.Now(), 0))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("nothing was drawn")
			}
		}()
		_ = a.showTop(t.Context(), v, nil, nil, nil)
	}()
	if got := out.written.String(); !strings.HasSuffix(got, "\x1b[?25h\x1b[?1049l") {
		t.Errorf("written %q", got)
	}
}

// leaver ends whoever draws at the first picture, and does not go on before the stream has noticed.
type leaver struct {
	leave context.CancelFunc
	left  <-chan struct{}
}

func (l *leaver) Write(p []byte) (int, error) {
	if l.leave != nil && bytes.HasPrefix(p, []byte("\x1b[H")) {
		l.leave()
		l.leave = nil
		<-l.left
	}
	return len(p), nil
}

// A signal ends the stream as well, and which of both is seen first does not matter.
func TestTopEndsWithASignal(t *testing.T) {
	live, err := json.Marshal(topSample(time.Now(), 0))
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan struct{}, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "holdfast-control") // what clients know the control API by
		fmt.Fprintf(w, "event: live\ndata: %s\n\n", live)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		left <- struct{}{}
	}))
	t.Cleanup(srv.Close)
	c := control.NewClient(srv.Listener.Addr().String())
	t.Cleanup(c.Close)
	for range 20 { // what is seen first is up to chance
		ctx, cancel := context.WithCancel(t.Context())
		a := &app{Process: Process{Out: &leaver{cancel, left}, In: strings.NewReader("")}}
		ended := make(chan error, 1)
		go func() { ended <- a.topLive(ctx, c, &topView{sort: "name"}) }()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("top has not ended")
		}
		cancel()
	}
}
