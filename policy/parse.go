package policy

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/internal/strictyaml"
	"github.com/holdfast-go/holdfast/resilience"
)

// Bounds of a document.
const (
	// MaxBytes is the largest document of one service.
	MaxBytes = 64 << 10
	// MaxMethods is the largest number of methods, and of tenants, in it.
	MaxMethods = 1000

	maxDuration = 24 * time.Hour
	maxNumber   = 1e9
	maxMethod   = 256
)

// Problem is one thing that is wrong in a document.
type Problem = strictyaml.Problem

// Problems is the error of Parse: everything that is wrong, in the order of the document, never empty.
type Problems = strictyaml.Problems //nolint:errname // as there

// Parse decodes and validates the document of one service, YAML or JSON, which is YAML too. The name is only used in
// messages. The error, if any, is a Problems with all that is wrong.
func Parse(name string, b []byte) (Service, error) {
	p := &strictyaml.Parser{File: name}
	var s Service
	p.Parse(b, MaxBytes, "it has calls: or serves:, or {} to change nothing", "there is one for each service", func(n *yaml.Node) {
		s = Decode(p, n)
	})
	if problems := p.Problems(); problems != nil {
		return Service{}, problems
	}
	return s, nil
}

// Validate reports everything that is wrong with a policy made in code, joined; nil if nothing is.
func (s Service) Validate() error {
	errs := []error{s.Calls.Policy.Validate(), s.Calls.Balance.Validate(), s.Serves.Admission.Validate()}
	for name, m := range s.Calls.Methods {
		if problem := methodProblem(name); problem != "" {
			errs = append(errs, fmt.Errorf("policy Methods: %q %s", name, problem))
		}
		if err := m.Over(s.Calls.Policy).Validate(); err != nil {
			errs = append(errs, fmt.Errorf("policy Methods: %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// Over returns p as it is for the method.
func (m Method) Over(p resilience.Policy) resilience.Policy {
	return Overlay(p, resilience.Policy{
		Timeout: m.Timeout, AttemptTimeout: m.AttemptTimeout, MaxAttempts: m.MaxAttempts, Hedge: m.Hedge,
	})
}

// Decode reads a document that stands within another one, whose problems p collects.
func Decode(p *strictyaml.Parser, n *yaml.Node) Service {
	var s Service
	r := &reader[Service]{p: p, keys: serviceKeys(), to: &s, at: make(map[string]*yaml.Node)}
	r.group(n, "the policy", "")
	r.check("policy ", "calls.", s.Calls.Policy.Validate())
	r.check("balance config ", "calls.balance.", s.Calls.Balance.Validate())
	r.check("admission: ", "serves.", s.Serves.Admission.Validate())
	r.checkMethods(s.Calls)
	return s
}

// reader reads a mapping by a table of keys.
type reader[T any] struct {
	p    *strictyaml.Parser
	keys []key[T]
	to   *T
	at   map[string]*yaml.Node // by path, what was found
}

// group reads n by the keys whose paths begin with path.
func (r *reader[T]) group(n *yaml.Node, what, path string) {
	var fields []strictyaml.Field
	for i := range r.keys {
		k := &r.keys[i]
		name, ok := strings.CutPrefix(k.path, path)
		if !ok || strings.Contains(name, ".") {
			continue
		}
		fields = append(fields, strictyaml.Field{Name: name, Read: func(v *yaml.Node) {
			r.at[k.path] = v
			if k.turnOff != nil && isOff(v) {
				k.turnOff(r.to)
				return
			}
			if k.make != nil {
				k.make(r.to)
			}
			if k.kind == group {
				r.group(v, name, k.path+".")
				if k.turnOff != nil && v.Kind == yaml.MappingNode && len(v.Content) == 0 {
					r.p.Problem(v, "%s: has nothing in it, which would leave it off where it is; leave it out, or name what is different", name)
				}
				return
			}
			r.leaf(k, name, v)
		}})
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" && path != "" {
		r.p.Problem(n, "%s: has nothing in it; leave it out, or name what is different", what)
		return
	}
	r.p.Mapping(n, what, fields)
}

func (r *reader[T]) leaf(k *key[T], name string, n *yaml.Node) {
	if k.off != "" && isOff(n) {
		switch at := k.at(r.to).(type) {
		case *time.Duration:
			*at = off
		case *int:
			*at = off
		case *float64:
			*at = off
		}
		return
	}
	or := ""
	if k.off != "" {
		or = ", or " + k.off
	}
	switch k.kind {
	case duration:
		*k.at(r.to).(*time.Duration) = readDuration(r.p, n, name, or)
	case count:
		hi := int(maxNumber)
		if k.hi > 0 {
			hi = int(k.hi)
		}
		*k.at(r.to).(*int), _ = r.p.Integer(n, name, int(k.lo), hi)
	case number, share:
		hi := k.hi
		switch {
		case k.kind == share:
			hi = 1
		case hi == 0:
			hi = maxNumber
		}
		*k.at(r.to).(*float64) = readNumber(r.p, n, name, or, k.lo, hi)
	case word:
		*k.at(r.to).(*string) = readWord(r.p, n, name, words)
	case safety:
		*k.at(r.to).(*Safe) = readSafe(r.p, n, name)
	case level:
		*k.at(r.to).(**resilience.Criticality) = readLevel(r.p, n, name)
	case quota:
		*k.at(r.to).(*admission.Quota) = readQuota(r.p, n, name)
	case quotas:
		*k.at(r.to).(*map[string]admission.Quota) = readQuotas(r.p, n, name)
	case methods:
		*k.at(r.to).(*map[string]Method) = r.readMethods(n, name)
	case group:
	}
}

// isOff reports whether n is one of the two words for it; which one a key is written with sounds better.
func isOff(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && (n.Value == "off" || n.Value == "none")
}

func readDuration(p *strictyaml.Parser, n *yaml.Node, what, or string) time.Duration {
	hint := ""
	if n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!int" || n.ShortTag() == "!!float") {
		hint = "; write the unit, such as " + n.Value + "s or " + n.Value + "ms"
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		p.Problem(n, "%s: want a duration such as 250ms or 5s%s, got %s%s", what, or, strictyaml.Kind(n), hint)
		return 0
	}
	d, err := time.ParseDuration(n.Value)
	switch {
	case err != nil:
		p.Problem(n, "%s: %s is no duration such as 250ms or 5s%s", what, strictyaml.Quote(n.Value), or)
	case d <= 0:
		p.Problem(n, "%s: %s is not above 0; leave the key out for the default%s", what, strictyaml.Bare(n.Value), or)
	case d > maxDuration:
		p.Problem(n, "%s: %s is longer than a day", what, strictyaml.Bare(n.Value))
	default:
		return d
	}
	return 0
}

func readNumber(p *strictyaml.Parser, n *yaml.Node, what, or string, lo, hi float64) float64 {
	tag := n.ShortTag()
	if n.Kind != yaml.ScalarNode || tag != "!!int" && tag != "!!float" {
		hint := ""
		var percent float64
		if _, err := fmt.Sscanf(n.Value, "%f%%", &percent); n.Kind == yaml.ScalarNode && err == nil && hi == 1 {
			hint = "; write " + formatNumber(percent/100)
		}
		p.Problem(n, "%s: want a number%s, got %s%s", what, or, strictyaml.Kind(n), hint)
		return 0
	}
	var v float64
	err := n.Decode(&v)
	switch {
	case err != nil || math.IsNaN(v) || v < lo || v > hi:
		p.Problem(n, "%s: %s is not between %s and %s", what, strictyaml.Bare(n.Value), formatNumber(lo), formatNumber(hi))
	case v == 0:
		p.Problem(n, "%s: 0 stands for the default; leave the key out%s", what, or)
	default:
		return v
	}
	return 0
}

func readWord(p *strictyaml.Parser, n *yaml.Node, what string, of []string) string {
	s, ok := p.Text(n, what)
	if !ok {
		return ""
	}
	for _, w := range of {
		if s == w {
			return s
		}
	}
	hint := "; there are " + strings.Join(of, ", ")
	if near := strictyaml.Nearest(s, of); near != "" {
		hint = "; did you mean " + near + "?"
	}
	p.Problem(n, "%s: there is no %s%s", what, strictyaml.Bare(s), hint)
	return ""
}

func readSafe(p *strictyaml.Parser, n *yaml.Node, what string) Safe {
	if n.Kind == yaml.ScalarNode {
		for _, s := range []Safe{SafeNever, SafeKeyed, SafeAlways} {
			if n.Value == s.String() && (n.ShortTag() == "!!bool" || s == SafeKeyed) {
				return s
			}
		}
	}
	p.Problem(n, "%s: want true, false or key, got %s", what, strictyaml.Kind(n))
	return SafeDefault
}

func readLevel(p *strictyaml.Parser, n *yaml.Node, what string) *resilience.Criticality {
	s := readWord(p, n, what, []string{"critical_plus", "critical", "sheddable_plus", "sheddable"})
	if c, ok := resilience.ParseCriticality(s); ok {
		return &c
	}
	return nil
}

func readQuota(p *strictyaml.Parser, n *yaml.Node, what string) admission.Quota {
	var q admission.Quota
	if n.Kind != yaml.MappingNode {
		q.Rate = readNumber(p, n, what, " of calls a second, or {rate: 10, burst: 20}", 0, maxNumber)
		return q
	}
	found := p.Mapping(n, what, []strictyaml.Field{
		{Name: "rate", Read: func(v *yaml.Node) { q.Rate = readNumber(p, v, "rate", "", 0, maxNumber) }},
		{Name: "burst", Read: func(v *yaml.Node) { q.Burst, _ = p.Integer(v, "burst", 1, maxNumber) }},
	})
	if found["rate"] == nil {
		p.Problem(n, "%s: no field rate: calls a second", what)
	}
	return q
}

func readQuotas(p *strictyaml.Parser, n *yaml.Node, what string) map[string]admission.Quota {
	out := make(map[string]admission.Quota)
	p.Pairs(n, what, func(key, value *yaml.Node) {
		switch {
		case !resilience.ValidTenant(key.Value):
			p.Problem(key, "%s: %s is no tenant: 1 to 64 letters, digits, '.', '_' and '-'", what, strictyaml.Quote(key.Value))
		case len(out) == MaxMethods:
			p.Problem(key, "%s: more than %d", what, MaxMethods)
		case len(out) < MaxMethods:
			out[key.Value] = readQuota(p, value, key.Value)
		}
	})
	if len(out) == 0 {
		return nil
	}
	return out
}

func (r *reader[T]) readMethods(n *yaml.Node, what string) map[string]Method {
	out := make(map[string]Method)
	r.p.Pairs(n, what, func(key, value *yaml.Node) {
		if problem := methodProblem(key.Value); problem != "" {
			r.p.Problem(key, "%s: %s %s", what, strictyaml.Quote(key.Value), problem)
			return
		}
		if len(out) >= MaxMethods {
			if len(out) == MaxMethods {
				r.p.Problem(key, "%s: more than %d", what, MaxMethods)
			}
			return
		}
		var m Method
		(&reader[Method]{p: r.p, keys: methodKeys(), to: &m, at: make(map[string]*yaml.Node)}).group(value, strictyaml.Bare(key.Value), "")
		r.at["calls.methods."+key.Value] = key
		out[key.Value] = m
	})
	if len(out) == 0 {
		return nil
	}
	return out
}

// methodProblem says what is wrong with the name of a method, "" if nothing is.
func methodProblem(name string) string {
	verb, path, ok := strings.Cut(name, " ")
	if !ok {
		verb, path = "", name
	}
	printable := func(r rune) bool { return r <= ' ' || r > '~' }
	switch {
	case len(name) > maxMethod:
		return fmt.Sprintf("is longer than %d characters", maxMethod)
	case strings.IndexFunc(path, printable) >= 0:
		return "has a blank, or a character that is not ASCII, in it"
	case ok && !isVerb(verb):
		return "does not begin with an HTTP method such as GET"
	case !strings.HasPrefix(path, "/") && strings.Count(path, "/") == 1 && verb == "":
		return "has no slash in front; write /" + path
	case !strings.HasPrefix(path, "/"):
		return `is no method such as "/shop.Orders/Place" or "GET /orders"`
	case strings.ContainsAny(path, "?#"):
		return "has a query in it; a path ends before the ?"
	}
	return ""
}

// isVerb reports whether s can be an HTTP method: capital letters, and dashes between them.
func isVerb(s string) bool {
	return strings.Trim(s, "-") == s && s != "" && strings.IndexFunc(s, func(r rune) bool { return (r < 'A' || r > 'Z') && r != '-' }) < 0
}

// check adds what Validate of one of the structs says, each at the key that its message names.
func (r *reader[T]) check(prefix, below string, err error) {
	if err == nil {
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		node, message := r.where(strings.TrimPrefix(line, prefix), below)
		r.p.Problem(node, "%s", message)
	}
}

// where returns the node that a message of Validate is about: of the keys below whose field it begins with, the longest.
// The message is returned with the key's name in place of the field's, where they are the same but for the spelling.
func (r *reader[T]) where(message, below string) (*yaml.Node, string) {
	node, longest, better := r.at[strings.TrimSuffix(below, ".")], -1, message
	for i := range r.keys {
		k := &r.keys[i]
		n := r.at[k.path]
		if n == nil || k.field == "" || !strings.HasPrefix(k.path, below) || !strings.HasPrefix(message, k.field) || len(k.field) <= longest {
			continue
		}
		node, longest, better = n, len(k.field), message
		name := k.path[strings.LastIndexByte(k.path, '.')+1:]
		own := k.field[strings.LastIndexByte(k.field, '.')+1:]
		if strings.EqualFold(own, strings.ReplaceAll(name, "_", "")) {
			better = name + message[len(k.field):]
		}
	}
	return node, better
}

func (r *reader[T]) checkMethods(c Calls) {
	general := make(map[string]bool) // what is wrong without the method is reported already
	if err := c.Policy.Validate(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			general[line] = true
		}
	}
	for name, m := range c.Methods {
		err := m.Over(c.Policy).Validate()
		if err == nil {
			continue
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !general[line] {
				r.p.Problem(r.at["calls.methods."+name], "%s: %s", name, strings.TrimPrefix(line, "policy "))
			}
		}
	}
}
