package drill

import (
	"encoding/json"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/internal/strictyaml"
)

func (p *parser) faults(n *yaml.Node) {
	p.list(n, "faults", maxFaults, func(v *yaml.Node) {
		if f, ok := p.fault(v); ok {
			p.sc.Faults, p.sc.lines = append(p.sc.Faults, f), append(p.sc.lines, v.Line)
		}
	})
}

// faultReader reads one fault and remembers where its fields are.
type faultReader struct {
	*parser
	f  inject.Fault
	at map[string]*yaml.Node
}

// fault reads "{at: 5s, KIND: …, for: 8s, …}".
func (p *parser) fault(n *yaml.Node) (inject.Fault, bool) {
	r := &faultReader{parser: p, at: make(map[string]*yaml.Node)}
	fields := []strictyaml.Field{
		{Name: "at", Read: func(v *yaml.Node) { r.f.At = p.instant(v, "at") }},
		{Name: "for", Read: func(v *yaml.Node) { r.f.For = p.duration(v, "for") }},
	}
	for _, k := range inject.Kinds() {
		fields = append(fields, strictyaml.Field{Name: string(k), Read: func(v *yaml.Node) { r.kind(k, v) }})
	}
	fields = append(fields, r.options()...)
	fields = append(fields,
		strictyaml.Field{Name: "undo", Read: func(v *yaml.Node) { r.f.Undo, _ = p.text(v, "undo") }},
		strictyaml.Field{Name: "request", Read: func(v *yaml.Node) { r.f.Request = p.request(v, "request") }},
		strictyaml.Field{Name: "mend", Read: func(v *yaml.Node) { r.f.Mend = p.request(v, "mend") }},
	)
	found := p.Mapping(n, "a fault", fields)
	for field, node := range found {
		r.at[field] = node
	}
	if n.Kind != yaml.MappingNode {
		return inject.Fault{}, false
	}
	if r.f.Kind == "" {
		p.Problem(n, "what is broken? one of %s", kindNames())
		return inject.Fault{}, false
	}
	if found["at"] == nil {
		p.Problem(n, "%s: at is missing: how long after the load began", r.f.Kind)
	}
	problems := r.f.Validate()
	for _, problem := range problems {
		if there := r.at[problem.Missing]; there != nil && !(there.Kind == yaml.SequenceNode && len(there.Content) == 0) {
			continue // it is there, and wrong, which has been said
		}
		at := n
		if node := r.at[problem.Field]; node != nil {
			at = node
		}
		p.Problem(at, "%s", problem.Message)
	}
	if len(problems) == 0 {
		p.ends = append(p.ends, end{r.f.At + r.f.For, r.f.For > 0, n})
	}
	return r.f, true
}

func kindNames() string {
	names := make([]string, 0, len(inject.Kinds()))
	for _, k := range inject.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// kind reads the value of the kind's own key: targets, a mode, a command, or the ends of connections.
func (r *faultReader) kind(k inject.Kind, v *yaml.Node) {
	if r.f.Kind != "" {
		r.Problem(v, "%s: the fault is %s already; make two of it", k, r.f.Kind)
		return
	}
	r.f.Kind = k
	switch k {
	case inject.Registry, inject.Broker:
		r.f.Mode, _ = r.text(v, string(k))
		r.at["mode"] = v
	case inject.Command:
		r.f.Run, _ = r.text(v, string(k))
		r.at["run"] = v
	case inject.Partition, inject.Latency, inject.Bandwidth, inject.Loss, inject.Reset:
		if v.Kind != yaml.MappingNode { // "partition: orders-1" is orders-1 and everybody else
			r.f.From = r.texts(v, string(k))
			r.at["from"] = v
			return
		}
		fields := append([]strictyaml.Field{
			{Name: "from", Read: func(v *yaml.Node) { r.f.From = r.texts(v, "from") }},
			{Name: "to", Read: func(v *yaml.Node) { r.f.To = r.texts(v, "to") }},
			{Name: "way", Read: func(v *yaml.Node) { r.f.Way, _ = r.text(v, "way") }},
			{Name: "between", Read: func(v *yaml.Node) {
				r.list(v, "between", 8, func(v *yaml.Node) { r.f.Between = append(r.f.Between, r.texts(v, "between")) })
			}},
		}, r.options()...)
		for field, node := range r.Mapping(v, string(k), fields) {
			r.at[field] = node
		}
	default:
		r.f.Target = r.texts(v, string(k))
	}
}

// options are the fields that kinds have beside whom they hit.
func (r *faultReader) options() []strictyaml.Field {
	once := func(name string, read func(v *yaml.Node)) strictyaml.Field {
		return strictyaml.Field{Name: name, Read: func(v *yaml.Node) {
			if first := r.at[name]; first != nil {
				r.Problem(v, "duplicate %s, first on line %d", name, first.Line)
				return
			}
			r.at[name] = v
			read(v)
		}}
	}
	return []strictyaml.Field{
		once("share", func(v *yaml.Node) { r.f.Share = r.share(v, "share") }),
		once("delay", func(v *yaml.Node) { r.f.Delay = r.duration(v, "delay") }),
		once("jitter", func(v *yaml.Node) { r.f.Jitter = r.duration(v, "jitter") }),
		once("every", func(v *yaml.Node) { r.f.Every = r.duration(v, "every") }),
		once("rate", func(v *yaml.Node) { r.f.Rate = r.size(v, "rate") }),
		once("bytes", func(v *yaml.Node) { r.f.Bytes = r.size(v, "bytes") }),
		once("jump", func(v *yaml.Node) { r.f.Jump, _ = r.anyDuration(v, "jump") }),
		once("replicas", func(v *yaml.Node) { r.f.Replicas, _ = r.Integer(v, "replicas", 1, 64) }),
		once("code", func(v *yaml.Node) { r.f.Code, _ = r.text(v, "code") }),
		once("methods", func(v *yaml.Node) { r.f.Methods = r.texts(v, "methods") }),
		once("mode", func(v *yaml.Node) { r.f.Mode, _ = r.text(v, "mode") }),
	}
}

// request reads "{post: /admin/behaviour, body: {…}}".
func (p *parser) request(n *yaml.Node, what string) *inject.Request {
	var r inject.Request
	var fields []strictyaml.Field
	for _, method := range methods() {
		fields = append(fields, strictyaml.Field{Name: strings.ToLower(method), Read: func(v *yaml.Node) {
			if r.Method != "" {
				p.Problem(v, "%s: has two methods", what)
			}
			r.Method = method
			r.Path, _ = p.text(v, what)
		}})
	}
	fields = append(fields, strictyaml.Field{Name: "body", Read: func(v *yaml.Node) {
		switch body := p.value(v, 0).(type) {
		case string:
			r.Body = body
		default:
			b, err := json.Marshal(body)
			if err != nil {
				p.Problem(v, "body: %v", err)
			}
			r.Body = string(b)
		}
	}})
	p.Mapping(n, what, fields)
	if n.Kind == yaml.MappingNode && r.Method == "" {
		p.Problem(n, "%s: of which path? such as post: /admin/behaviour", what)
		return nil
	}
	return &r
}

func methods() []string { return []string{"GET", "POST", "PUT", "PATCH", "DELETE"} }
