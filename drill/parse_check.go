package drill

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/internal/strictyaml"
)

func (p *parser) invariants(n *yaml.Node) {
	p.list(n, "invariants", maxChecks, p.invariant)
}

// invariantReader reads one invariant. Its kind decides which fields it has, so its mapping is looked at twice.
type invariantReader struct {
	*parser
	inv check.Invariant
}

// invariantKinds are the keys that say what an invariant is.
func invariantKinds() []string {
	return []string{"register", "acknowledged", "once", "leader", "http", "command"}
}

func (p *parser) invariant(n *yaml.Node) {
	r := &invariantReader{parser: p}
	kind := ""
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if slices.Contains(invariantKinds(), n.Content[i].Value) && kind == "" {
				kind = n.Content[i].Value
			}
		}
	}
	fields := []strictyaml.Field{{Name: "name", Read: func(v *yaml.Node) { r.inv.Name, _ = p.text(v, "name") }}}
	switch kind {
	case "register":
		fields = append(fields, r.register()...)
	case "acknowledged":
		fields = append(fields, r.acknowledged()...)
	case "once":
		fields = append(fields, r.once()...)
	case "leader":
		fields = append(fields, r.leader()...)
	case "http":
		fields = append(fields, r.http()...)
	case "command":
		fields = append(fields, r.command()...)
	default:
		for _, k := range invariantKinds() {
			fields = append(fields, strictyaml.Field{Name: k, Read: func(*yaml.Node) {}})
		}
	}
	found := p.Mapping(n, "an invariant", fields)
	if kind == "acknowledged" {
		r.need(n, kind, found, "at")
	}
	if kind == "" {
		if n.Kind == yaml.MappingNode {
			p.Problem(n, "what has to hold? one of %s", strings.Join(invariantKinds(), ", "))
		}
		return
	}
	p.sc.Invariants = append(p.sc.Invariants, r.inv)
}

// register reads "register: {keys: 5, clients: 3, write: {put: …}, read: {get: …, keep: {value: …}}}".
func (r *invariantReader) register() []strictyaml.Field {
	reg := &check.Register{}
	r.inv.Register = reg
	return []strictyaml.Field{{Name: "register", Read: func(n *yaml.Node) {
		found := r.Mapping(n, "register", []strictyaml.Field{
			{Name: "keys", Read: func(v *yaml.Node) { reg.Keys, _ = r.Integer(v, "keys", 1, check.MaxKeys) }},
			{Name: "clients", Read: func(v *yaml.Node) { reg.Clients, _ = r.Integer(v, "clients", 1, check.MaxClients) }},
			{Name: "every", Read: func(v *yaml.Node) { reg.Every = r.duration(v, "every") }},
			{Name: "values", Read: func(v *yaml.Node) { reg.Values, _ = r.Integer(v, "values", 1, 1_000_000) }},
			{Name: "write", Read: func(v *yaml.Node) { reg.Write = r.call(v, "write", false).call }},
			{Name: "read", Read: func(v *yaml.Node) { reg.Read = r.kept(v, "read", "value") }},
		})
		r.need(n, "register", found, "write", "read")
	}}}
}

// acknowledged reads "acknowledged: NAME, at: {get: …}".
func (r *invariantReader) acknowledged() []strictyaml.Field {
	a := &check.Acknowledged{}
	r.inv.Acknowledged = a
	return []strictyaml.Field{
		{Name: "acknowledged", Read: func(v *yaml.Node) { a.Call = r.named(v, "acknowledged") }},
		{Name: "at", Read: func(v *yaml.Node) { a.At = r.call(v, "at", false).call }},
		{Name: "within", Read: func(v *yaml.Node) { a.Within = r.duration(v, "within") }},
	}
}

// once reads "once: NAME, by: key, list: {get: …, keep: {count: …}}".
func (r *invariantReader) once() []strictyaml.Field {
	o := &check.Once{}
	r.inv.Once = o
	return []strictyaml.Field{
		{Name: "once", Read: func(v *yaml.Node) { o.Call = r.named(v, "once") }},
		{Name: "by", Read: func(v *yaml.Node) { o.By, _ = r.text(v, "by") }},
		{Name: "list", Read: func(v *yaml.Node) {
			call := r.kept(v, "list", "count")
			o.List = &call
		}},
		{Name: "within", Read: func(v *yaml.Node) { o.Within = r.duration(v, "within") }},
	}
}

// leader reads "leader: {service: orders, get: /admin/leader, keep: {leader: …, term: …}}".
func (r *invariantReader) leader() []strictyaml.Field {
	l := &check.Leader{}
	r.inv.Leader = l
	return []strictyaml.Field{{Name: "leader", Read: func(n *yaml.Node) {
		c := &callReader{parser: r.parser, what: "leader"}
		found := r.Mapping(n, "leader", append([]strictyaml.Field{
			{Name: "service", Read: func(v *yaml.Node) { l.Service, _ = r.text(v, "service") }},
			{Name: "every", Read: func(v *yaml.Node) { l.Every = r.duration(v, "every") }},
		}, c.fields()...))
		c.done(n)
		r.need(n, "leader", found, "service")
		r.keeps(n, "leader", c.call, "leader")
		l.Get = c.call
	}}}
}

// http reads "http: {get: …, expect: 200}".
func (r *invariantReader) http() []strictyaml.Field {
	h := &check.HTTP{}
	r.inv.HTTP = h
	return []strictyaml.Field{
		{Name: "http", Read: func(v *yaml.Node) { h.Call = r.call(v, "http", false).call }},
		{Name: "within", Read: func(v *yaml.Node) { h.Within = r.duration(v, "within") }},
	}
}

// command reads "command: go run ./audit".
func (r *invariantReader) command() []strictyaml.Field {
	c := &check.Command{}
	r.inv.Command = c
	return []strictyaml.Field{
		{Name: "command", Read: func(v *yaml.Node) { c.Run, _ = r.text(v, "command") }},
		{Name: "timeout", Read: func(v *yaml.Node) { c.Timeout = r.duration(v, "timeout") }},
	}
}

// named reads the name of a call of the load.
func (r *invariantReader) named(n *yaml.Node, what string) string {
	s, ok := r.text(n, what)
	if ok {
		r.wanted = append(r.wanted, want{s, n})
	}
	return s
}

// kept reads a call that has to keep something.
func (r *invariantReader) kept(n *yaml.Node, what, name string) load.Call {
	c := r.call(n, what, false).call
	r.keeps(n, what, c, name)
	return c
}

func (r *invariantReader) keeps(n *yaml.Node, what string, c load.Call, name string) {
	if n.Kind == yaml.MappingNode && c.Keep[name] == "" {
		r.Problem(n, "%s: has to keep %s, such as keep: {%s: PATH}; it keeps %s", what, name, name, listOr(slices.Sorted(maps.Keys(c.Keep)), "nothing"))
	}
}

func (r *invariantReader) need(n *yaml.Node, what string, found map[string]*yaml.Node, names ...string) {
	for _, name := range names {
		if n.Kind == yaml.MappingNode && found[name] == nil {
			r.Problem(n, "%s: %s is missing", what, name)
		}
	}
}

func listOr(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}
