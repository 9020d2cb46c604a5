package drill

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/internal/strictyaml"
)

// load reads "{rate: 100, edge: gateway, vars: {…}, calls: {NAME: {…}}}".
func (p *parser) load(n *yaml.Node) {
	mix := &p.sc.Load
	edge := ""
	var calls *yaml.Node
	p.uses = nil // of what has been read before: other things are known there
	defer func() { p.known, p.uses = p.uses, nil }()
	found := p.Mapping(n, "load", []strictyaml.Field{
		{Name: "rate", Read: func(v *yaml.Node) {
			rate := p.number(v, "rate", 0.01, maxRate)
			mix.Steps = []load.Step{{From: rate, To: rate}}
		}},
		{Name: "steps", Read: func(v *yaml.Node) {
			mix.Steps = nil
			p.list(v, "steps", maxSteps, p.step)
			p.steps = true
			if len(mix.Steps) == 0 {
				p.Problem(v, "steps: there are none")
			}
		}},
		{Name: "edge", Read: func(v *yaml.Node) { edge, _ = p.text(v, "edge") }},
		{Name: "vars", Read: func(v *yaml.Node) { mix.Vars = p.templates(v, "vars") }},
		{Name: "calls", Read: func(v *yaml.Node) { calls = v }},
	})
	if found["rate"] != nil && found["steps"] != nil {
		p.Problem(found["steps"], "steps: there is a rate already; remove one of the two")
	}
	if calls == nil {
		return
	}
	p.Pairs(calls, "calls", func(key, v *yaml.Node) {
		if len(mix.Calls) == maxCalls {
			p.Problem(key, "calls: more than %d", maxCalls)
		}
		if len(mix.Calls) >= maxCalls {
			return
		}
		r := p.call(v, key.Value, true)
		r.call.Name = key.Value
		if r.call.Edge == "" {
			r.call.Edge = edge
		}
		mix.Calls = append(mix.Calls, r.call)
	})
	if len(mix.Calls) > 0 && !slices.ContainsFunc(mix.Calls, func(c load.Call) bool { return c.Weight > 0 }) {
		p.Problem(calls, "calls: none of them has a weight, so none would be made")
	}
}

// step reads "{for: 10s, rate: 100}" or "{for: 10s, from: 100, to: 400}".
func (p *parser) step(n *yaml.Node) {
	var s load.Step
	found := p.Mapping(n, "a step", []strictyaml.Field{
		{Name: "for", Read: func(v *yaml.Node) { s.For = p.duration(v, "for") }},
		{Name: "rate", Read: func(v *yaml.Node) { s.From = p.number(v, "rate", 0, maxRate); s.To = s.From }},
		{Name: "from", Read: func(v *yaml.Node) { s.From = p.number(v, "from", 0, maxRate) }},
		{Name: "to", Read: func(v *yaml.Node) { s.To = p.number(v, "to", 0, maxRate) }},
	})
	rate, from, to := found["rate"] != nil, found["from"] != nil, found["to"] != nil
	switch {
	case n.Kind != yaml.MappingNode:
	case found["for"] == nil:
		p.Problem(n, "a step: for is missing")
	case rate == (from || to) || from != to:
		p.Problem(n, "a step: has either rate, or from and to")
	}
	p.sc.Load.Steps = append(p.sc.Load.Steps, s)
}

// callReader reads one call, by itself or among the fields of what it belongs to.
type callReader struct {
	*parser
	what string
	call load.Call
}

// call reads a mapping that is one call. Only one of a mix has a weight.
func (p *parser) call(n *yaml.Node, what string, mixed bool) *callReader {
	r := &callReader{parser: p, what: what}
	fields := r.fields()
	if mixed {
		r.call.Weight = 1
		fields = append(fields,
			strictyaml.Field{Name: "weight", Read: func(v *yaml.Node) { r.call.Weight = p.number(v, "weight", 0, 1e6) }},
			strictyaml.Field{Name: "again", Read: func(v *yaml.Node) { r.call.Again = p.share(v, "again") }},
		)
	}
	before := len(p.uses)
	p.Mapping(n, strictyaml.Bare(what), fields)
	for i := range p.uses[before:] {
		p.uses[before+i].key = r.call.Key != ""
	}
	r.done(n)
	return r
}

func (r *callReader) fields() []strictyaml.Field {
	p, c := r.parser, &r.call
	var fields []strictyaml.Field
	for _, method := range methods() {
		fields = append(fields, strictyaml.Field{Name: strings.ToLower(method), Read: func(v *yaml.Node) {
			if c.Method != "" || c.GRPC != "" {
				p.Problem(v, "%s: has two methods", strictyaml.Bare(r.what))
			}
			c.Method = method
			c.Path = p.template(v, strings.ToLower(method))
		}})
	}
	return append(fields,
		strictyaml.Field{Name: "grpc", Read: func(v *yaml.Node) {
			if c.Method != "" {
				p.Problem(v, "%s: has two methods", strictyaml.Bare(r.what))
			}
			c.GRPC, _ = p.text(v, "grpc")
			if c.GRPC != "" && (strings.Count(c.GRPC, "/") != 2 || strings.Contains(c.GRPC, "//")) {
				p.Problem(v, "grpc: want SERVICE/package.Type/Method, got %s", strictyaml.Quote(c.GRPC))
			}
		}},
		strictyaml.Field{Name: "edge", Read: func(v *yaml.Node) { c.Edge, _ = p.text(v, "edge") }},
		strictyaml.Field{Name: "header", Read: func(v *yaml.Node) { c.Header = p.templates(v, "header") }},
		strictyaml.Field{Name: "key", Read: func(v *yaml.Node) { c.Key = p.template(v, "key") }},
		strictyaml.Field{Name: "body", Read: func(v *yaml.Node) {
			c.Body = p.value(v, 0)
			p.templatesIn(v)
		}},
		strictyaml.Field{Name: "expect", Read: func(v *yaml.Node) { c.Expect = p.statuses(v, "expect") }},
		strictyaml.Field{Name: "refused", Read: func(v *yaml.Node) { c.Refused = p.statuses(v, "refused") }},
		strictyaml.Field{Name: "keep", Read: func(v *yaml.Node) { c.Keep = p.paths(v) }},
		strictyaml.Field{Name: "timeout", Read: func(v *yaml.Node) { c.Timeout = p.duration(v, "timeout") }},
	)
}

// done says what is missing.
func (r *callReader) done(n *yaml.Node) {
	if n.Kind == yaml.MappingNode && r.call.Method == "" && r.call.GRPC == "" {
		r.Problem(n, "%s: what is called? such as get: /path, or grpc: SERVICE/package.Type/Method", strictyaml.Bare(r.what))
	}
}

// template reads a text that is filled in for each call.
func (p *parser) template(n *yaml.Node, what string) string {
	s, ok := p.text(n, what)
	if !ok {
		return ""
	}
	p.compile(n, what, s)
	return s
}

// compile looks whether a template is right, and remembers what it uses.
func (p *parser) compile(n *yaml.Node, what, text string) {
	t, err := load.Compile(text)
	if err != nil {
		p.Problem(n, "%s: %s", what, plain(err))
		return
	}
	for _, name := range t.Names() {
		p.uses = append(p.uses, use{name: name, n: n})
	}
}

// use is where a variable is used.
type use struct {
	name string
	key  bool // of a call that has a key, which is one, too
	n    *yaml.Node
}

// checkUses finds variables of the load that nothing gives a value.
func (p *parser) checkUses() {
	names := slices.Sorted(maps.Keys(p.sc.Load.Vars))
	for _, u := range p.known {
		if slices.Contains(names, u.name) || u.key && u.name == "key" {
			continue
		}
		hint := "; vars has " + listOr(names, "none")
		if near := strictyaml.Nearest(u.name, names); near != "" {
			hint = "; did you mean " + near + "?"
		}
		p.Problem(u.n, "the load has no variable %s%s", strictyaml.Quote(u.name), hint)
	}
}

// templates reads a mapping of them. Numbers stand for themselves.
func (p *parser) templates(n *yaml.Node, what string) map[string]string {
	out := make(map[string]string)
	p.Pairs(n, what, func(key, v *yaml.Node) {
		if v.Kind == yaml.ScalarNode && (v.ShortTag() == "!!int" || v.ShortTag() == "!!float" || v.ShortTag() == "!!bool") {
			out[key.Value] = v.Value
			return
		}
		out[key.Value] = p.template(v, key.Value)
	})
	return out
}

// templatesIn checks each text of a body.
func (p *parser) templatesIn(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		p.compile(n, "body", n.Value)
	}
	for i, v := range n.Content {
		if n.Kind == yaml.SequenceNode || n.Kind == yaml.MappingNode && i%2 == 1 {
			p.templatesIn(v)
		}
	}
}

// statuses reads one of "201", "2xx", "409 OUT_OF_STOCK", "NOT_FOUND", or a list of them.
func (p *parser) statuses(n *yaml.Node, what string) (out []string) {
	add := func(v *yaml.Node) {
		s := v.Value
		if v.Kind != yaml.ScalarNode || v.ShortTag() != "!!int" {
			var ok bool
			if s, ok = p.text(v, what); !ok {
				return
			}
		}
		if _, err := load.CompileStatus(s); err != nil {
			p.Problem(v, "%s: %s", what, plain(err))
			return
		}
		out = append(out, s)
	}
	if n.Kind == yaml.ScalarNode {
		add(n)
		return out
	}
	p.list(n, what, maxCalls, add)
	return out
}

// paths reads what is kept of an answer.
func (p *parser) paths(n *yaml.Node) map[string]string {
	out := make(map[string]string)
	p.Pairs(n, "keep", func(key, v *yaml.Node) {
		s, ok := p.text(v, key.Value)
		if !ok {
			return
		}
		if _, err := load.CompilePath(s); err != nil {
			p.Problem(v, "%s: %s", key.Value, plain(err))
		}
		out[key.Value] = s
	})
	return out
}

// maxDepth bounds how deep a body is nested.
const maxDepth = 32

// value is a body as Go has it: texts, numbers, booleans, nil, lists and maps of them.
func (p *parser) value(n *yaml.Node, depth int) any {
	switch {
	case depth > maxDepth:
		p.Problem(n, "body: nested deeper than %d", maxDepth)
	case n.Kind == yaml.MappingNode && n.ShortTag() == "!!map":
		out := make(map[string]any)
		p.Pairs(n, "body", func(key, v *yaml.Node) { out[key.Value] = p.value(v, depth+1) })
		return out
	case n.Kind == yaml.SequenceNode && n.ShortTag() == "!!seq":
		out := make([]any, 0, len(n.Content))
		for _, v := range n.Content {
			out = append(out, p.value(v, depth+1))
		}
		return out
	case n.Kind == yaml.ScalarNode:
		return p.scalar(n)
	default:
		p.Problem(n, "body: want JSON, or what becomes it, got %s", strictyaml.Kind(n))
	}
	return nil
}

func (p *parser) scalar(n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b
		}
	case "!!int":
		if v, err := strconv.ParseInt(n.Value, 0, 64); err == nil {
			return v
		}
	case "!!float":
		if v, err := strconv.ParseFloat(n.Value, 64); err == nil && v-v == 0 { // neither infinite nor NaN, which JSON lacks
			return v
		}
	case "!!str":
		if len(n.Value) <= maxText {
			return n.Value
		}
	}
	p.Problem(n, "body: want JSON, or what becomes it, got %s", strictyaml.Kind(n))
	return nil
}

// plain is an error's message without its code, for a line that has the place already.
func plain(err error) string {
	text := err.Error()
	return strings.TrimPrefix(text, "INVALID_ARGUMENT: ")
}
