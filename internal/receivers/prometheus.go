//go:build unix

package receivers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/holdfast-go/holdfast/internal/ports"
)

// Prometheus is a real one. Its methods are safe for concurrent use, Close aside.
type Prometheus struct {
	ports *ports.Reserved
	proc  *process
}

// Programs returns the paths of prometheus and promtool. The error says how to get them.
func Programs() (prometheus, promtool string, err error) {
	prometheus, err = exec.LookPath("prometheus")
	if err == nil {
		promtool, err = exec.LookPath("promtool")
	}
	if err != nil {
		return "", "", fmt.Errorf("find prometheus: %w: run `apt-get install --no-install-recommends prometheus` first", err)
	}
	return prometheus, promtool, nil
}

// StartPrometheus starts one and returns when it answers. config is its configuration, dir for that, its data and its log.
func StartPrometheus(ctx context.Context, dir, config string) (*Prometheus, error) {
	program, _, err := Programs()
	if err != nil {
		return nil, err
	}
	p, err := retry(func() (*Prometheus, error) { return startPrometheus(ctx, program, dir, config) })
	if err != nil {
		return nil, fmt.Errorf("start prometheus: %w", err)
	}
	return p, nil
}

func startPrometheus(ctx context.Context, program, dir, config string) (*Prometheus, error) {
	reserved, err := ports.Reserve(1)
	if err != nil {
		return nil, err
	}
	p := &Prometheus{ports: reserved}
	file := filepath.Join(dir, "prometheus.yml")
	if err = os.WriteFile(file, []byte(config), 0o600); err == nil {
		p.proc, err = launch(exec.Command(program, "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"),
			"--web.listen-address", reserved.Addr(0), "--log.level", "warn"), filepath.Join(dir, "prometheus.log"))
	}
	if err == nil {
		err = p.proc.ready(ctx, p.URL()+"/-/ready")
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// URL returns its address.
func (p *Prometheus) URL() string { return "http://" + p.ports.Addr(0) }

// Sample is one series at one moment.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Query asks for what an expression is now. An expression that is none is an error; one that finds nothing, no samples.
func (p *Prometheus) Query(ctx context.Context, expr string) ([]Sample, error) {
	var answer struct {
		Data struct {
			Type   string `json:"resultType"`
			Result json.RawMessage
		}
	}
	if err := getJSON(ctx, p.URL()+"/api/v1/query?"+url.Values{"query": {expr}}.Encode(), &answer); err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	if answer.Data.Type != "vector" {
		return nil, fmt.Errorf("query %s: a %s", expr, answer.Data.Type)
	}
	var vector []struct {
		Metric map[string]string
		Value  [2]any // time, text
	}
	if err := json.Unmarshal(answer.Data.Result, &vector); err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	var out []Sample
	for _, v := range vector {
		word, _ := v.Value[1].(string)
		value, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return nil, fmt.Errorf("query %s: %w", expr, err)
		}
		out = append(out, Sample{v.Metric, value})
	}
	return out, nil
}

// Target is something that is scraped.
type Target struct {
	Labels map[string]string
	// Health is "up", "down" or "unknown".
	Health string
	// Error is why it is down.
	Error string `json:"lastError"`
}

// Targets lists what is scraped.
func (p *Prometheus) Targets(ctx context.Context) ([]Target, error) {
	var answer struct {
		Data struct {
			Active []Target `json:"activeTargets"`
		}
	}
	err := getJSON(ctx, p.URL()+"/api/v1/targets?state=active", &answer)
	return answer.Data.Active, err
}

// Rule is an alert rule as it is evaluated.
type Rule struct {
	Name, Query, Health string
	// Error is what went wrong with it the last time.
	Error string `json:"lastError"`
	// State is "inactive", "pending" or "firing", of an alert.
	State string
}

// Rules lists the rules.
func (p *Prometheus) Rules(ctx context.Context) ([]Rule, error) {
	var answer struct {
		Data struct{ Groups []struct{ Rules []Rule } }
	}
	if err := getJSON(ctx, p.URL()+"/api/v1/rules", &answer); err != nil {
		return nil, err
	}
	var out []Rule
	for _, g := range answer.Data.Groups {
		out = append(out, g.Rules...)
	}
	return out, nil
}

// Promtool runs promtool, and the error has what it says.
func Promtool(ctx context.Context, args ...string) error {
	_, tool, err := Programs()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("promtool %v: %w", args, err), errors.New(string(out)))
	}
	return nil
}

// Close ends it. It is idempotent.
func (p *Prometheus) Close() {
	p.proc.kill()
	p.ports.Release()
}
