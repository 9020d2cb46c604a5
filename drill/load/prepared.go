package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const (
	defaultTimeout = 10 * time.Second
	maxDepth       = 32 // of a body
	maxError       = 1 << 10
)

// Prepared is a call that can be made. Safe for concurrent use.
type Prepared struct {
	call    Call
	timeout time.Duration
	run     string
	send    sender

	path    Template
	header  map[string]Template
	key     *Template
	body    func(d Draw, vars Values) ([]byte, error) // nil: there is none
	keep    map[string]Path
	expect  []Status
	refused []Status
	reads   bool     // a GET of HTTP of which nothing is said: its 200 comes with what was asked for
	uses    []string // variables
}

// sender is the protocol: HTTP or gRPC. The error is why there is no answer.
type sender interface {
	send(ctx context.Context, r request) (*answer, error)
}

// request is a call whose templates are filled in.
type request struct {
	path   string
	header map[string]string
	key    string
	body   []byte
}

// Prepare looks whether a call can be made at all: whether its templates are right, and use nothing but vars (and key), its
// edge is there, and its gRPC method exists and takes such a body, for which it asks the service. The error says all that is
// wrong, and is INVALID_ARGUMENT, or UNAVAILABLE when the service did not answer.
func (c *Caller) Prepare(ctx context.Context, vars []string, call Call) (*Prepared, error) {
	p := &Prepared{call: call, timeout: call.Timeout, run: c.run}
	if p.timeout <= 0 {
		p.timeout = defaultTimeout
	}
	err := errors.Join(p.compile(), c.protocol(ctx, p))
	if p.key != nil {
		vars = append(slices.Clone(vars), "key")
	}
	for _, name := range p.uses {
		if !slices.Contains(vars, name) {
			err = errors.Join(err, invalid("{{.%s}} is not known here: %s", name, known(vars)))
		}
	}
	if err != nil {
		return nil, failure.Wrap(err, failure.CodeOf(err), "%s: %s", call.Name, says(err))
	}
	return p, nil
}

// says is what is wrong, in one line.
func says(err error) string {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		var out []string
		for _, e := range all.Unwrap() {
			out = append(out, says(e))
		}
		return strings.Join(out, "; ")
	}
	if f := failure.From(err); f.Message != "" {
		return f.Message
	}
	return err.Error()
}

func known(vars []string) string {
	if len(vars) == 0 {
		return "there are no variables"
	}
	return "there are " + strings.Join(slices.Compact(slices.Sorted(slices.Values(vars))), ", ")
}

func (p *Prepared) compile() error {
	var problems []error
	read := func(text string) Template {
		t, err := Compile(text)
		problems = append(problems, err)
		p.use(t.Names()...)
		return t
	}
	p.path = read(p.call.Path)
	p.header = make(map[string]Template)
	for name, text := range p.call.Header {
		p.header[name] = read(text)
	}
	if p.call.Key != "" {
		t := read(p.call.Key)
		p.key = &t
	}
	if p.call.Body != nil {
		var err error
		p.body, err = p.compileBody(p.call.Body)
		problems = append(problems, err)
	}
	p.keep = make(map[string]Path)
	outside := false // of the body
	for name, text := range p.call.Keep {
		path, err := CompilePath(text)
		if err == nil && !validName(name) {
			err = invalid("keep: %q is no name", cut(name, 80))
		}
		problems = append(problems, err)
		p.use(path.names()...)
		p.keep[name] = path
		outside = outside || path.outside()
	}
	status := func(texts []string) (out []Status) {
		for _, text := range texts {
			s, err := CompileStatus(text)
			out, problems = append(out, s), append(problems, err)
		}
		return out
	}
	p.expect, p.refused = status(p.call.Expect), status(p.call.Refused)
	if len(p.expect) == 0 {
		p.expect = []Status{{code: "2xx"}, {code: "3xx"}, {code: "OK"}}
		p.reads = p.call.GRPC == "" && p.method() == http.MethodGet && !outside
	}
	return errors.Join(problems...)
}

func (p *Prepared) use(names ...string) {
	for _, n := range names {
		if !slices.Contains(p.uses, n) {
			p.uses = append(p.uses, n)
		}
	}
}

// compileBody compiles what YAML has made of a body.
func (p *Prepared) compileBody(body any) (func(Draw, Values) ([]byte, error), error) {
	if text, ok := body.(string); ok {
		t, err := Compile(text)
		p.use(t.Names()...)
		return func(d Draw, vars Values) ([]byte, error) {
			return []byte(t.write(d, vars, func(_, v string) string { return inJSON(v) })), nil
		}, err
	}
	fill, err := p.compileNode(body, 0)
	return func(d Draw, vars Values) ([]byte, error) { return json.Marshal(fill(d, vars)) }, err
}

// inJSON escapes a text for a place between quotes.
func inJSON(v string) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b[1 : len(b)-1])
}

type filler func(d Draw, vars Values) any

func (p *Prepared) compileNode(v any, depth int) (filler, error) {
	if depth > maxDepth {
		return nil, invalid("the body is deeper than %d", maxDepth)
	}
	switch v := v.(type) {
	case string:
		t, err := Compile(v)
		p.use(t.Names()...)
		return func(d Draw, vars Values) any {
			if v := t.Fill(d, vars); v.JSON {
				return json.RawMessage(v.Text)
			} else { //nolint:revive // it is v's
				return v.Text
			}
		}, err
	case map[string]any:
		names := slices.Sorted(maps.Keys(v)) // what is drawn is drawn in the same order each time
		fillers := make([]filler, len(names))
		for i, name := range names {
			var err error
			if fillers[i], err = p.compileNode(v[name], depth+1); err != nil {
				return nil, err
			}
		}
		return func(d Draw, vars Values) any {
			out := make(map[string]any, len(names))
			for i, name := range names {
				out[name] = fillers[i](d, vars)
			}
			return out
		}, nil
	case []any:
		fillers := make([]filler, len(v))
		for i, e := range v {
			var err error
			if fillers[i], err = p.compileNode(e, depth+1); err != nil {
				return nil, err
			}
		}
		return func(d Draw, vars Values) any {
			out := make([]any, len(fillers))
			for i, fill := range fillers {
				out[i] = fill(d, vars)
			}
			return out
		}, nil
	default:
		if _, err := json.Marshal(v); err != nil {
			return nil, invalid("the body has what is not to be had in JSON: %T", v)
		}
		return func(Draw, Values) any { return v }, nil
	}
}

// inURL escapes a value for its place in a path or a query.
func inURL(before, v string) string {
	if strings.Contains(before, "?") {
		return url.QueryEscape(v)
	}
	return url.PathEscape(v)
}

// made is a call that is filled in and can be sent, more than once.
type made struct {
	request
	vars Values
	err  error
}

// make fills the call in. It draws, so it is for one goroutine at a time if it is to be the same each time.
func (p *Prepared) make(d Draw, vars Values) made {
	d.Run = p.run
	m := made{vars: vars}
	if p.key != nil {
		m.key = p.key.Fill(d, vars).Text
		if _, taken := vars["key"]; !taken {
			m.vars = maps.Clone(vars)
			if m.vars == nil {
				m.vars = Values{}
			}
			m.vars["key"] = Value{Text: m.key}
		}
	}
	m.path = p.path.write(d, m.vars, inURL)
	m.header = make(map[string]string, len(p.header))
	for _, name := range slices.Sorted(maps.Keys(p.header)) {
		m.header[name] = p.header[name].Fill(d, m.vars).Text
	}
	if p.body != nil {
		if m.body, m.err = p.body(d, m.vars); m.err != nil {
			m.err = fmt.Errorf("the body: %w", m.err)
		}
	}
	return m
}

// Do makes the call with vars, which may be nil, and says what became of it; Due is 0. It takes at most the call's timeout,
// and ends with ctx: then Outcome is Failed and Error that of ctx.
func (p *Prepared) Do(ctx context.Context, d Draw, vars Values) Sample {
	began := time.Now()
	s := p.do(ctx, p.make(d, vars))
	s.Took = time.Since(began)
	return s
}

// do sends a call that is filled in.
func (p *Prepared) do(ctx context.Context, m made) Sample {
	s := Sample{Call: p.call.Name, Outcome: Failed, Vars: p.used(m.vars)}
	if m.err != nil {
		s.Error = cut(m.err.Error(), maxError)
		return s
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, failure.New(failure.DeadlineExceeded, "no answer within %v", p.timeout))
	defer cancel()
	a, err := p.send.send(ctx, m.request)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		s.Error = oneLine(failure.From(err).Error())
		return s
	}
	s.Status, s.Instance = a.status, a.from
	text := string(a.body)
	switch {
	case matches(p.expect, s.Status, text):
		s.Outcome = OK
		if p.reads && s.Status == "200" && text == "" {
			s.Outcome, s.Empty, s.Error = Failed, true, `the answer is empty; where that is right, the call says "expect: [200]"`
		} else if missing := p.take(a, m, &s); missing != "" {
			s.Outcome, s.Error = Failed, oneLine("the answer has no "+cut(missing, 80)+": "+text)
		}
	case matches(p.refused, s.Status, text):
		s.Outcome, s.Error = Refused, oneLine(text)
	default:
		s.Error = oneLine(text)
	}
	return s
}

// take keeps what is to be kept, and returns what was not there.
func (p *Prepared) take(a *answer, m made, s *Sample) (missing string) {
	for _, name := range slices.Sorted(maps.Keys(p.keep)) {
		v, ok := p.keep[name].find(a, m.vars)
		if !ok {
			return p.call.Keep[name]
		}
		if s.Kept == nil {
			s.Kept = make(map[string]string, len(p.keep))
		}
		s.Kept[name] = v.Text
	}
	return ""
}

// used returns those of the variables that this call is made with.
func (p *Prepared) used(vars Values) map[string]string {
	var out map[string]string
	for name, v := range vars {
		if name == "key" || slices.Contains(p.uses, name) {
			if out == nil {
				out = make(map[string]string)
			}
			out[name] = cut(v.Text, maxKept)
		}
	}
	return out
}

// oneLine makes a text that came from outside one line of at most 1 KiB.
func oneLine(s string) string {
	return cut(strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " "), maxError)
}
