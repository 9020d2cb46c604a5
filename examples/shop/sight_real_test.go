//go:build real && linux

package shop_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/receivers"
)

// What is built with standard tools sees the shop: Jaeger has the trace of a checkout with all services that take part in
// it, over calls and messages; Prometheus finds and scrapes every instance, and has an answer to each query of the dashboards
// and the alert rules.
func TestRealShopInSight(t *testing.T) {
	jaeger, err := receivers.StartJaeger(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(jaeger.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.HTTP())
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")

	site := newSite(t)
	site.writeSystem(t, site.programs)
	shop := site.up(t)
	prometheus := startPrometheus(t, site.control)

	stop := shop.shoppers(t)
	t.Run("Jaeger", func(t *testing.T) { checkoutInJaeger(t, jaeger) })
	t.Run("targets", func(t *testing.T) { everyInstanceIsScraped(t, shop, prometheus) })
	t.Run("dashboards", func(t *testing.T) { dashboardsHaveData(t, prometheus) })
	t.Run("alerts", func(t *testing.T) { rulesAreEvaluated(t, prometheus) })
	stop()
	shop.down(t)
}

// shoppers fill carts and order until stop.
func (s *running) shoppers(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	for c := range 2 {
		crowd.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				// Whether every order is taken at once is asked elsewhere, where nothing else makes this machine busy.
				_, _ = s.placeUntil(ctx, fmt.Sprintf("sight-%d-%d", c, n), "stoneware-mug")
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	return func() { cancel(); crowd.Wait() }
}

// checkoutInJaeger asks Jaeger as its users do. What follows an order comes by messages, and a moment later.
func checkoutInJaeger(t *testing.T, jaeger *receivers.Jaeger) {
	want := []string{"gateway", "orders", "catalog", "inventory", "payment", "shipping", "notifications", "analytics"}
	var whole receivers.JaegerTrace
	eventually(t, time.Minute, "Jaeger has a checkout with all services", func() error {
		found, err := jaeger.Traces(t.Context(), "gateway", "POST /api/orders", 50)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return errors.New("no trace of POST /api/orders at gateway")
		}
		best, torn := -1, error(nil)
		for _, trace := range found {
			services := trace.Services()
			if err := danglers(trace); err != nil {
				torn = err
			} else if n := len(slices.DeleteFunc(slices.Clone(want), func(s string) bool { return services[s] == 0 })); n > best {
				best, whole = n, trace
			}
		}
		if best < len(want) {
			return fmt.Errorf("of %d traces the best has %v, %d spans; of one that is not whole: %w", len(found), whole.Services(), len(whole.Spans), torn)
		}
		return nil
	})
	if err := danglers(whole); err != nil {
		t.Error(err)
	}
	kinds := make(map[string]int)
	for _, s := range whole.Spans {
		for _, tag := range s.Tags {
			if tag.Key == "span.kind" {
				kinds[fmt.Sprint(tag.Value)]++
			}
		}
	}
	for _, kind := range []string{"client", "server", "producer", "consumer", "internal"} {
		if kinds[kind] == 0 {
			t.Errorf("no %s span in %v", kind, kinds)
		}
	}
	t.Logf("trace %s: %d spans %v of %v", whole.ID, len(whole.Spans), kinds, whole.Services())
}

// danglers is an error that names spans whose parent is not in the trace; one span has none.
func danglers(trace receivers.JaegerTrace) error {
	ids := make(map[string]bool)
	for _, s := range trace.Spans {
		ids[s.ID] = true
	}
	roots := 0
	var lost []string
	for _, s := range trace.Spans {
		switch p := s.Parent(); {
		case p == "":
			roots++
		case !ids[p]:
			lost = append(lost, trace.Processes[s.Process].Service+" "+s.Name)
		}
	}
	if roots != 1 || len(lost) > 0 {
		return fmt.Errorf("trace %s: %d roots, without a parent: %q", trace.ID, roots, lost)
	}
	return nil
}

// startPrometheus starts one that is told by the control API where instances are.
func startPrometheus(t *testing.T, control string) *receivers.Prometheus {
	t.Helper()
	rules, err := filepath.Abs("../../telemetry/alerts/holdfast.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	// As they are, but evaluated more often: nobody waits half a minute here.
	dir := t.TempDir()
	quick := filepath.Join(dir, "holdfast.yaml")
	if err := os.WriteFile(quick, []byte(strings.ReplaceAll(string(text), "interval: 30s", "interval: 1s")), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := receivers.StartPrometheus(t.Context(), dir, fmt.Sprintf(`
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: holdfast
    http_sd_configs: [{url: "http://%s/v1/prometheus/targets", refresh_interval: 1s}]
`, quick, control))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func everyInstanceIsScraped(t *testing.T, shop *running, p *receivers.Prometheus) {
	var want []string
	for _, i := range shop.instances(t) {
		if i.Service != "control" { // which is etcd and the engine of messages
			want = append(want, i.Service+" "+i.ID)
		}
	}
	slices.Sort(want)
	eventually(t, time.Minute, "every instance is scraped", func() error {
		targets, err := p.Targets(t.Context())
		if err != nil {
			return err
		}
		var up, down []string
		for _, target := range targets {
			name := target.Labels["job"] + " " + target.Labels["instance"]
			if target.Health == "up" {
				up = append(up, name)
			} else {
				down = append(down, name+": "+target.Health+" "+target.Error)
			}
		}
		slices.Sort(up)
		if !slices.Equal(up, want) {
			return fmt.Errorf("scraped: %v, want %v; not: %v", up, want, down)
		}
		return nil
	})
	t.Logf("%d instances are scraped", len(want))
}

// rare are the series that a shop in which all is well may not have yet.
var rare = []string{"holdfast_client_refused_total", "holdfast_ejected", "holdfast_queue_retried_total", "holdfast_queue_dead_total"}

func dashboardsHaveData(t *testing.T, p *receivers.Prometheus) {
	panels, err := receivers.Dashboards("../../telemetry/dashboards")
	if err != nil {
		t.Fatal(err)
	}
	for _, panel := range panels {
		eventually(t, time.Minute, panel.Dashboard+": "+panel.Title+" shows something", func() error {
			found := 0
			for _, q := range panel.Queries {
				samples, err := p.Query(t.Context(), q)
				if err != nil {
					return err
				}
				found += len(samples)
				for _, name := range receivers.Series(q) {
					there, err := p.Query(t.Context(), "count("+name+")")
					if err != nil {
						return err
					}
					if len(there) == 0 && !slices.Contains(rare, name) && !strings.HasPrefix(name, "http_client") {
						return fmt.Errorf("nobody has %s", name)
					}
				}
			}
			if found == 0 && !mayBeEmpty(panel.Queries) {
				return fmt.Errorf("nothing is found by %q", panel.Queries)
			}
			return nil
		})
	}
	t.Logf("%d panels", len(panels))
}

// mayBeEmpty says of queries that they are about what need not have happened: failures, and what is rare.
func mayBeEmpty(queries []string) bool {
	for _, q := range queries {
		if strings.Contains(q, `error_type!=""`) {
			return true
		}
		for _, name := range receivers.Series(q) {
			if slices.Contains(rare, name) {
				return true
			}
		}
	}
	return false
}

func rulesAreEvaluated(t *testing.T, p *receivers.Prometheus) {
	eventually(t, time.Minute, "all rules are evaluated without error", func() error {
		rules, err := p.Rules(t.Context())
		if err != nil {
			return err
		}
		if len(rules) < 20 {
			return fmt.Errorf("only %d rules", len(rules))
		}
		for _, r := range rules {
			if r.Health != "ok" || r.Error != "" {
				return fmt.Errorf("%s: %s %s", r.Name, r.Health, r.Error)
			}
			if r.State == "firing" {
				return fmt.Errorf("%s fires in a shop that is well", r.Name)
			}
			for _, name := range receivers.Series(r.Query) {
				there, err := p.Query(t.Context(), "count("+name+")")
				if err != nil {
					return err
				}
				if len(there) == 0 && !slices.Contains(rare, name) && !strings.HasPrefix(name, "http_client") {
					return fmt.Errorf("%s: nobody has %s", r.Name, name)
				}
			}
		}
		for _, name := range []string{"calls", "calls_failed", "calls_slow"} {
			for _, seenBy := range []string{"callers", "web"} {
				got, err := p.Query(t.Context(), fmt.Sprintf("holdfast:%s:rate5m{seen_by=%q}", name, seenBy))
				if err != nil || len(got) == 0 {
					return fmt.Errorf("no holdfast:%s:rate5m of %s: %w", name, seenBy, err)
				}
			}
		}
		return nil
	})
}
