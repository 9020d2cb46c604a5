package receivers_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-go/holdfast/internal/receivers"
)

func TestSeriesOfAnExpression(t *testing.T) {
	for expr, want := range map[string][]string{
		`sum by (rpc_method) (rate(rpc_server_call_duration_seconds_count{system=~"x",http_route="y"}[1m]))`: {"rpc_server_call_duration_seconds_count"},
		`max(holdfast_queue_lag) > 100 and holdfast_queue_lag offset 10m > 0`:                                {"holdfast_queue_lag"},
		`histogram_quantile(0.9, sum by (le, http_route) (rate(http_x_bucket{job="a"}[1m]))) or vector(0)`:   {"http_x_bucket"},
		`up == 0`: nil,
	} {
		if got := receivers.Series(expr); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", expr, got, want)
		}
	}
}

// A file that Grafana would show as nothing is an error.
func TestDashboardsThatAreNone(t *testing.T) {
	for _, text := range []string{
		`{`, `{"uid": "other", "title": "x", "panels": [{"title": "a", "targets": [{"expr": "up"}]}]}`,
		`{"uid": "d", "title": "x", "panels": [{"title": "a", "targets": []}]}`,
		`{"uid": "d", "title": "x", "panels": [{"title": "a", "targets": [{"expr": ""}]}]}`,
		`{"uid": "d", "title": "x", "panels": []}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "d.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if panels, err := receivers.Dashboards(dir); err == nil {
			t.Errorf("%s: %v", text, panels)
		}
	}
}
