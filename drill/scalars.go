package drill

import (
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-go/holdfast/internal/strictyaml"
)

// duration reads one that is above 0.
func (p *parser) duration(n *yaml.Node, what string) time.Duration {
	d, ok := p.anyDuration(n, what)
	if ok && (d <= 0 || d > maxDuration) {
		p.Problem(n, "%s: %s is not between 1ns and %v", what, strictyaml.Bare(n.Value), maxDuration)
		return 0
	}
	return d
}

// instant reads a time after the beginning, which may be 0.
func (p *parser) instant(n *yaml.Node, what string) time.Duration {
	if n.Kind == yaml.ScalarNode && n.Value == "0" {
		return 0
	}
	d, ok := p.anyDuration(n, what)
	if ok && (d < 0 || d > maxDuration) {
		p.Problem(n, "%s: %s is not between 0s and %v", what, strictyaml.Bare(n.Value), maxDuration)
		return 0
	}
	return d
}

func (p *parser) anyDuration(n *yaml.Node, what string) (time.Duration, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		hint := ""
		if t := n.ShortTag(); n.Kind == yaml.ScalarNode && (t == "!!int" || t == "!!float") {
			hint = "; write the unit, such as " + n.Value + "s"
		}
		p.Problem(n, "%s: want a duration such as 250ms or 5s, got %s%s", what, strictyaml.Kind(n), hint)
		return 0, false
	}
	d, err := time.ParseDuration(n.Value)
	if err != nil {
		p.Problem(n, "%s: %s is no duration such as 250ms or 5s", what, strictyaml.Quote(n.Value))
		return 0, false
	}
	return d, true
}

// number reads one in lo..hi.
func (p *parser) number(n *yaml.Node, what string, lo, hi float64) float64 {
	if t := n.ShortTag(); n.Kind != yaml.ScalarNode || t != "!!int" && t != "!!float" {
		p.Problem(n, "%s: want a number, got %s", what, strictyaml.Kind(n))
		return 0
	}
	v, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || !(v >= lo && v <= hi) {
		p.Problem(n, "%s: %s is not between %v and %v", what, strictyaml.Bare(n.Value), lo, hi)
		return 0
	}
	return v
}

// share reads a part of a whole, above 0: 99.99% or 0.9999.
func (p *parser) share(n *yaml.Node, what string) float64 {
	if n.Kind != yaml.ScalarNode {
		p.Problem(n, "%s: want a share such as 99.99%%, got %s", what, strictyaml.Kind(n))
		return 0
	}
	text, percent := strings.CutSuffix(strings.TrimSpace(n.Value), "%")
	text = strings.TrimSpace(text)
	if percent {
		text += "e-2" // and not a division, after which 99.99% is not 0.9999
	}
	v, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		p.Problem(n, "%s: want a share such as 99.99%%, got %s", what, strictyaml.Kind(n))
		return 0
	case !(v > 0 && v <= 1):
		hint := ""
		if !percent && v > 1 && v <= 100 {
			hint = "; did you mean " + n.Value + "%?"
		}
		p.Problem(n, "%s: %s is not above 0%% and up to 100%%%s", what, strictyaml.Bare(n.Value), hint)
		return 0
	}
	return v
}

// size reads a number of bytes: 4096, 64KiB, 1.5MiB, 2GiB.
func (p *parser) size(n *yaml.Node, what string) int64 {
	if n.Kind != yaml.ScalarNode {
		p.Problem(n, "%s: want bytes such as 64KiB, got %s", what, strictyaml.Kind(n))
		return 0
	}
	text, factor := n.Value, float64(1)
	for _, unit := range []struct {
		name string
		size float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		if before, ok := strings.CutSuffix(text, unit.name); ok {
			text, factor = strings.TrimSpace(before), unit.size
			break
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v*factor >= 1) || v*factor > math.MaxInt32*1024 {
		p.Problem(n, "%s: want bytes such as 64KiB, got %s", what, strictyaml.Kind(n))
		return 0
	}
	return int64(v * factor)
}

// list calls each for the elements of a list, of which there may be at most so many.
func (p *parser) list(n *yaml.Node, what string, most int, each func(v *yaml.Node)) {
	switch {
	case n.Kind != yaml.SequenceNode:
		p.Problem(n, "%s: want a list, got %s", what, strictyaml.Kind(n))
		return
	case len(n.Content) > most:
		p.Problem(n, "%s: %d are more than %d", what, len(n.Content), most)
		return
	}
	for _, v := range n.Content {
		each(v)
	}
}

// texts reads one text, or a list of them.
func (p *parser) texts(n *yaml.Node, what string) (out []string) {
	add := func(v *yaml.Node) {
		if s, ok := p.text(v, what); ok {
			out = append(out, s)
		}
	}
	if n.Kind == yaml.ScalarNode {
		add(n)
		return out
	}
	p.list(n, what, maxSteps, add)
	return out
}

// text reads one that is not empty and not endless.
func (p *parser) text(n *yaml.Node, what string) (string, bool) {
	s, ok := p.Text(n, what)
	switch {
	case !ok:
		return "", false
	case s == "":
		p.Problem(n, "%s: is empty", what)
		return "", false
	case len(s) > maxText:
		p.Problem(n, "%s: longer than %d KiB", what, maxText>>10)
		return "", false
	}
	return s, true
}
