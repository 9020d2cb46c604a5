//go:build real && unix

package telemetry_test

import (
	"regexp"
	"testing"

	"github.com/holdfast-go/holdfast/internal/receivers"
)

// What promtool says of the rules: that they can be read, and that they fire when they should, and only then.
func TestRealAlertRules(t *testing.T) {
	if err := receivers.Promtool(t.Context(), "check", "rules", "--lint=all", "--lint-fatal", "alerts/holdfast.yaml"); err != nil {
		t.Error(err)
	}
	if err := receivers.Promtool(t.Context(), "test", "rules", "alerts/holdfast_test.yaml"); err != nil {
		t.Error(err)
	}
}

// variable is one of Grafana's; $1 is a group of label_replace.
var variable = regexp.MustCompile(`\$[a-z_{]`)

// Every query of every dashboard is one that Prometheus takes. Whether it finds something is what the shop's tests ask.
func TestRealDashboardsAreValid(t *testing.T) {
	panels, err := receivers.Dashboards("dashboards")
	if err != nil {
		t.Fatal(err)
	}
	p, err := receivers.StartPrometheus(t.Context(), t.TempDir(), "global: {scrape_interval: 1h}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	for _, panel := range panels {
		for _, q := range panel.Queries {
			if variable.MatchString(q) {
				t.Errorf("%s: %s: a variable that nobody fills in: %s", panel.Dashboard, panel.Title, q)
			}
			if _, err := p.Query(t.Context(), q); err != nil {
				t.Errorf("%s: %s: %v", panel.Dashboard, panel.Title, err)
			}
		}
	}
}
