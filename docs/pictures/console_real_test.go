//go:build pictures && linux

package main

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/pagetest"
	"github.com/holdfast-go/holdfast/platform/control"
)

// TestConsolePictures takes the pictures of the console, of the shop that runs at HOLDFAST_CONTROL and is used meanwhile: make.sh
// sees to both. It is no test of anything.
func TestConsolePictures(t *testing.T) {
	addr := os.Getenv("HOLDFAST_CONTROL")
	if addr == "" {
		addr = control.DefaultAddr
	}
	c := control.NewClient(addr)
	defer c.Close()
	defer http.DefaultClient.CloseIdleConnections()
	in, err := c.Invite(t.Context(), control.Operate)
	if err != nil {
		t.Fatal(err)
	}
	base, _, _ := strings.Cut(in.URL, "#")
	tab := pagetest.NewTab(t, pagetest.Browser(t))
	tab.Go(in.URL)
	tab.Until("the page follows the system", `document.body.dataset.live === "on"`)
	view := func(name, hash, scheme string, width, height int64) {
		tab.Scheme(scheme)
		tab.Size(width, height)
		tab.Go(base + "?" + name + hash)
		tab.Until(name+" is drawn", `document.body.dataset.live === "on" && document.querySelector("main h1, main h2")`)
		tab.Until("figures are there", `(window.since ??= performance.now()) + 2500 < performance.now()`)
		tab.Shot("console-" + name)
	}
	// What users do not notice is what one looks for: calls that were made again.
	call := ""
	for end := time.Now().Add(time.Minute); call == "" && time.Now().Before(end); <-time.After(time.Second) {
		for _, status := range []string{control.TraceError, control.TraceRetried, control.TraceHedged} {
			traces, err := c.Traces(t.Context(), control.TraceQuery{Status: status, Limit: 200})
			if err != nil {
				t.Fatal(err)
			}
			for _, tr := range traces {
				if call == "" && len(tr.Services) > 3 {
					call = tr.ID
				}
			}
		}
	}
	if _, err := c.Kill(t.Context(), "orders-1", false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Freeze(t.Context(), "payment-2", false); err != nil {
		t.Fatal(err)
	}
	view("graph", "#/", "light", 1440, 1000)
	view("graph-dark", "#/service/payment", "dark", 1440, 1000)
	view("phone", "#/", "dark", 390, 1400)
	if _, err := c.Thaw(t.Context(), "payment-2"); err != nil {
		t.Fatal(err)
	}
	view("call", "#/calls/"+call, "light", 1440, 1500)
	view("calls", "#/calls", "light", 1440, 900)
	view("instances", "#/instances", "light", 1440, 1000)
	view("state", "#/state", "light", 1440, 1000)
	view("queues", "#/queues", "light", 1440, 900)
	view("policies", "#/policies", "light", 1440, 900)
	view("logs", "#/logs", "dark", 1440, 900)
	view("events", "#/events", "light", 1440, 900)
}
