package receivers

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Panel is one panel of a dashboard of Grafana.
type Panel struct {
	Dashboard, Title string
	// Queries are what it asks Prometheus for, with the variables of the dashboard as Grafana fills them in at first.
	Queries []string
}

// Dashboards reads all dashboards of a directory, rows left out.
func Dashboards(dir string) ([]Panel, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []Panel
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var board struct {
			UID, Title string
			Panels     []struct {
				Type, Title string
				Targets     []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(b, &board); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if board.UID+".json" != filepath.Base(file) || board.Title == "" {
			return nil, fmt.Errorf("%s: uid %q, title %q", file, board.UID, board.Title)
		}
		for _, p := range board.Panels {
			if p.Type == "row" {
				continue
			}
			panel := Panel{Dashboard: board.UID, Title: p.Title}
			for _, t := range p.Targets {
				panel.Queries = append(panel.Queries, fill.Replace(t.Expr))
			}
			if p.Title == "" || len(panel.Queries) == 0 || slices.Contains(panel.Queries, "") {
				return nil, fmt.Errorf("%s: panel %q asks for nothing", file, p.Title)
			}
			out = append(out, panel)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no dashboards", dir)
	}
	return out, nil
}

// fill stands for Grafana: all of the variables, and the shortest rate interval that is sensible while a test lasts.
var fill = strings.NewReplacer("$system", ".*", "$job", ".*", "$__rate_interval", "1m")

// series finds the names of series in an expression: all that Holdfast and OpenTelemetry have are prefixed so.
var series = regexp.MustCompile(`\b(?:holdfast|rpc|http|messaging|process|go)_[a-z0-9_]*[a-z0-9]\b`)

// Series returns the names of the series that an expression is about, each once. What is a label of one of them is none.
func Series(expr string) []string {
	var out []string
	for _, loc := range series.FindAllStringIndex(expr, -1) {
		if end := strings.TrimLeft(expr[loc[1]:], " "); end == "" || !strings.ContainsAny(end[:1], "{[)") {
			if !strings.HasPrefix(expr[loc[0]:], "holdfast") || strings.HasPrefix(end, "=") || strings.HasPrefix(end, "!") {
				continue
			}
		}
		if name := expr[loc[0]:loc[1]]; !slices.Contains(out, name) && !label[name] {
			out = append(out, name)
		}
	}
	return out
}

// label has those of the labels that look like names of series.
var label = map[string]bool{"http_route": true, "http_response_status_code": true, "http_request_method": true, "rpc_method": true, "messaging_destination_name": true, "messaging_consumer_group_name": true}
