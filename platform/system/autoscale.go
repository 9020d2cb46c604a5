package system

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-go/holdfast/internal/strictyaml"
	"github.com/holdfast-go/holdfast/scale"
)

// Replicated is what Service.State says of a service whose instances keep state among themselves.
const Replicated = "replicated"

const (
	maxWindow = 24 * time.Hour
	maxTarget = 1e9
	maxMaxUp  = 16
)

// autoscale reads an autoscale section.
func (p *parser) autoscale(service string, n *yaml.Node) *scale.Policy {
	var policy scale.Policy
	duration := func(to *time.Duration, what string) func(*yaml.Node) {
		return func(v *yaml.Node) { *to = p.duration(v, what) }
	}
	var most *yaml.Node
	found := p.Mapping(n, "autoscale", []strictyaml.Field{
		{Name: "min", Read: func(v *yaml.Node) { policy.Min, _ = p.Integer(v, "min", 1, MaxReplicas) }},
		{Name: "max", Read: func(v *yaml.Node) { policy.Max, _ = p.Integer(v, "max", 1, MaxReplicas); most = v }},
		{Name: "target", Read: func(v *yaml.Node) { policy.Targets = p.targets(service, v) }},
		{Name: "up-after", Read: duration(&policy.UpAfter, "up-after")},
		{Name: "down-after", Read: duration(&policy.DownAfter, "down-after")},
		{Name: "tolerance", Read: func(v *yaml.Node) { policy.Tolerance = p.number(v, "tolerance", 0.01, 0.5) }},
		{Name: "max-up", Read: func(v *yaml.Node) { policy.MaxUp = p.number(v, "max-up", 1.1, maxMaxUp) }},
	})
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for _, name := range []string{"min", "max", "target"} {
		if found[name] == nil {
			p.Problem(n, "autoscale: no field %s%s", name, map[string]string{"target": ": name a metric and its value for each instance, such as {in-flight: 20}"}[name])
		}
	}
	if policy.Min > 0 && policy.Max > 0 && policy.Max < policy.Min {
		p.Problem(most, "max: %d is below min, which is %d", policy.Max, policy.Min)
	}
	return &policy
}

// targets reads metrics and where they are to be kept.
func (p *parser) targets(service string, n *yaml.Node) (targets []scale.Target) {
	add := func(m scale.Metric, lo, hi float64) strictyaml.Field {
		return strictyaml.Field{Name: string(m), Read: func(v *yaml.Node) {
			targets = append(targets, scale.Target{Metric: m, Value: p.number(v, string(m), lo, hi)})
		}}
	}
	p.Mapping(n, "target", []strictyaml.Field{
		add(scale.InFlight, 0.1, maxTarget),
		add(scale.Limiter, 0.05, 1),
		add(scale.CPU, 0.01, 1024),
		{Name: string(scale.Lag), Read: func(v *yaml.Node) { targets = append(targets, p.lag(service, v)) }},
		{Name: string(scale.Custom), Read: func(v *yaml.Node) { targets = append(targets, p.custom(v)) }},
	})
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		p.Problem(n, "target: is empty; name a metric and its value for each instance, such as {in-flight: 20}")
	}
	return targets
}

// lag reads {topic: orders.placed, group: shipping, waiting: 100}.
func (p *parser) lag(service string, n *yaml.Node) scale.Target {
	t := scale.Target{Metric: scale.Lag, Group: service}
	found := p.Mapping(n, "lag", []strictyaml.Field{
		{Name: "topic", Read: func(v *yaml.Node) { t.Topic = p.word(v, "topic") }},
		{Name: "group", Read: func(v *yaml.Node) { t.Group = p.word(v, "group") }},
		{Name: "waiting", Read: func(v *yaml.Node) { t.Value = p.number(v, "waiting", 1, maxTarget) }},
	})
	p.missing(n, found, "lag", "topic", "waiting")
	p.lags = append(p.lags, n)
	return t
}

// custom reads {path: /load, value: 10}.
func (p *parser) custom(n *yaml.Node) scale.Target {
	t := scale.Target{Metric: scale.Custom}
	found := p.Mapping(n, "custom", []strictyaml.Field{
		{Name: "path", Read: func(v *yaml.Node) {
			if t.Path = p.word(v, "path"); t.Path != "" && t.Path[0] != '/' {
				p.Problem(v, "path: %s does not begin with a slash", strictyaml.Quote(t.Path))
			}
		}},
		{Name: "value", Read: func(v *yaml.Node) { t.Value = p.number(v, "value", 1e-6, maxTarget) }},
	})
	p.missing(n, found, "custom", "path", "value")
	return t
}

// missing adds a problem for each field that has to be there and is not.
func (p *parser) missing(n *yaml.Node, found map[string]*yaml.Node, what string, names ...string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for _, name := range names {
		if found[name] == nil {
			p.Problem(n, "%s: no field %s", what, name)
		}
	}
}

// word reads text that is not empty and has no blanks in it.
func (p *parser) word(n *yaml.Node, what string) string {
	s, ok := p.Text(n, what)
	if !ok {
		return ""
	}
	for _, c := range s {
		if c <= ' ' {
			p.Problem(n, "%s: %s has blanks in it", what, strictyaml.Quote(s))
			return ""
		}
	}
	if s == "" {
		p.Problem(n, "%s: is empty", what)
	}
	return s
}

// duration reads a duration above 0 and up to a day.
func (p *parser) duration(n *yaml.Node, what string) time.Duration {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		hint := ""
		if n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!int" || n.ShortTag() == "!!float") {
			hint = "; write the unit, such as " + n.Value + "s"
		}
		p.Problem(n, "%s: want a duration such as 3s or 1m, got %s%s", what, strictyaml.Kind(n), hint)
		return 0
	}
	d, err := time.ParseDuration(n.Value)
	switch {
	case err != nil:
		p.Problem(n, "%s: %s is no duration such as 3s or 1m", what, strictyaml.Quote(n.Value))
	case d <= 0:
		p.Problem(n, "%s: %s is not above 0; leave it out for the default", what, strictyaml.Bare(n.Value))
	case d > maxWindow:
		p.Problem(n, "%s: %s is longer than a day", what, strictyaml.Bare(n.Value))
	default:
		return d
	}
	return 0
}

// number reads a number between lo, which is above 0, and hi.
func (p *parser) number(n *yaml.Node, what string, lo, hi float64) float64 {
	var v float64
	if tag := n.ShortTag(); n.Kind != yaml.ScalarNode || tag != "!!int" && tag != "!!float" {
		hint := ""
		var percent float64
		if _, err := fmt.Sscanf(n.Value, "%f%%", &percent); n.Kind == yaml.ScalarNode && err == nil && hi <= 1 {
			hint = "; write " + format(percent/100)
		}
		p.Problem(n, "%s: want a number, got %s%s", what, strictyaml.Kind(n), hint)
		return 0
	}
	if err := n.Decode(&v); err != nil || math.IsNaN(v) || v < lo || v > hi {
		p.Problem(n, "%s: %s is not between %s and %s", what, strictyaml.Bare(n.Value), format(lo), format(hi))
		return 0
	}
	return v
}

func format(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// state reads what a service keeps.
func (p *parser) state(n *yaml.Node) string {
	s, ok := p.Text(n, "state")
	if ok && s != Replicated {
		p.Problem(n, "state: there is no %s; want %s, for a service whose instances keep state among themselves, or leave it out",
			strictyaml.Bare(s), Replicated)
		return ""
	}
	return s
}

// serves reads what a service serves: one protocol, a list of them, or none.
func (p *parser) serves(n *yaml.Node) []string {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	out := []string{}
	for _, item := range items {
		s, ok := p.Text(item, "serves")
		switch {
		case !ok:
			return nil
		case s == "none" && len(items) == 1:
			return out
		case s == "none":
			p.Problem(item, "serves: none goes with no other")
			return nil
		case s != GRPC && s != HTTP:
			p.Problem(item, "serves: there is no %s; want grpc, http, [grpc, http] or none", strictyaml.Bare(s))
			return nil
		case slices.Contains(out, s):
			p.Problem(item, "serves: %s is in the list twice", s)
			return nil
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		p.Problem(n, "serves: the list is empty; write none")
		return nil
	}
	return out
}

// checkScaling finds an autoscale section that does not go with the rest of the service, and gives the service its first
// number of instances. replicas is nil if the file names none.
func (p *parser) checkScaling(svc *Service, at, replicas *yaml.Node) {
	policy := svc.Autoscale
	if policy == nil {
		return
	}
	switch {
	case svc.State == Replicated:
		p.Problem(at, "autoscale: the instances of %s keep state among themselves: each that goes for good takes a vote and a copy along; set replicas", svc.Name)
	case replicas == nil:
		svc.Replicas = policy.Min
	case policy.Min > 0 && policy.Max >= policy.Min && (svc.Replicas < policy.Min || svc.Replicas > policy.Max):
		p.Problem(replicas, "replicas: %d is not from min to max of autoscale, %d to %d; leave it out to begin with min", svc.Replicas, policy.Min, policy.Max)
	}
}

// checkLags finds targets on messages in a system without any.
func (p *parser) checkLags() {
	if p.sys.Queue == NoQueue {
		for _, n := range p.lags {
			p.Problem(n, "lag: the system has no engine for messages: queue is none")
		}
	}
}
