//go:build real && linux

package console_test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/holdfast-go/holdfast/internal/pagetest"
)

// TestRealPictures takes a picture of each view, for people to look at; HOLDFAST_ONLY=graph,call takes some.
func TestRealPictures(t *testing.T) {
	small, large := shop(), big()
	small.trouble()
	servers := map[string]string{}
	for name, f := range map[string]*fake{"well": shop(), "shop": small, "big": large} {
		server := httptest.NewServer(f.handler())
		t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
		servers[name] = server.URL
	}
	tab := pagetest.NewTab(t, pagetest.Browser(t))
	failed, retried := small.traces[2].ID, small.traces[3].ID
	only := os.Getenv("HOLDFAST_ONLY")
	for _, p := range []struct {
		name, of, hash, scheme, lang string
		width, height                int64
	}{
		{"graph", "shop", "#/", "light", "en", 1440, 900},
		{"graph-well-zh", "well", "#/", "light", "zh", 1440, 900},
		{"graph-dark", "shop", "#/service/payment", "dark", "en", 1440, 900},
		{"graph-big", "big", "#/", "dark", "en", 1440, 1100},
		{"graph-1024", "big", "#/", "light", "en", 1024, 900},
		{"graph-phone", "shop", "#/", "light", "zh", 390, 1700},
		{"graph-phone-dark", "shop", "#/", "dark", "en", 390, 1700},
		{"instances", "shop", "#/instances", "light", "en", 1440, 900},
		{"instance", "shop", "#/instance/orders-2", "dark", "en", 1440, 900},
		{"instances-phone", "shop", "#/instances", "light", "en", 390, 900},
		{"call", "shop", "#/calls/" + failed, "light", "en", 1440, 1500},
		{"call-dark", "shop", "#/calls/" + retried, "dark", "zh", 1440, 1300},
		{"call-phone", "shop", "#/calls/" + failed, "light", "en", 390, 1800},
		{"calls-1024", "shop", "#/calls", "light", "en", 1024, 800},
		{"state", "shop", "#/state", "light", "en", 1440, 900},
		{"state-phone", "shop", "#/state", "dark", "zh", 390, 1400},
		{"queues", "shop", "#/queues/payments.settled/orders", "light", "en", 1440, 900},
		{"queues-phone", "shop", "#/queues/payments.settled/orders", "light", "zh", 390, 1300},
		{"policies", "shop", "#/policies", "light", "en", 1440, 900},
		{"logs", "shop", "#/logs", "dark", "en", 1440, 900},
		{"logs-phone", "shop", "#/logs", "light", "en", 390, 900},
		{"events", "shop", "#/events", "light", "en", 1440, 900},
		{"help", "shop", "#/events?help", "light", "en", 1024, 800},
		{"confirm", "shop", "#/instance/orders-1?confirm", "light", "en", 1024, 800},
	} {
		if only != "" && !strings.Contains(","+only+",", ","+p.name+",") {
			continue
		}
		tab.Scheme(p.scheme)
		tab.Size(p.width, p.height)
		tab.Go(servers[p.of] + "/" + p.hash)
		pagetest.Value[int](tab, fmt.Sprintf(`localStorage.setItem("holdfast.lang", %q), localStorage.setItem("holdfast.key", "k"), 0`, p.lang))
		tab.Do("load it again", chromedp.Reload())
		tab.Until(p.name+" is drawn", isDrawn)
		tab.Until("a second has passed", `performance.now() > 1500`)
		if strings.HasSuffix(p.hash, "?help") {
			tab.Click("#top button.key")
		}
		if strings.HasSuffix(p.hash, "?confirm") {
			tab.Click(".panel [data-action=kill]")
		}
		tab.Shot(p.name)
	}
	for _, line := range tab.Complaints() {
		t.Errorf("in the browser's console: %s", line)
	}
}
