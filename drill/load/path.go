package load

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const maxKept = 4 << 10 // bytes of a value that is kept

// Path is where a value is in an answer:
//
//	order.id                          a name in JSON, and one in that
//	items.0.sku                       an element of a list
//	items.#                           how many elements there are
//	items.#(product=mug).quantity     of the first element that has it; what is after = may have {{.variables}}
//	items.#(product!=mug)#            how many elements have another, or none
//	@header.Location, @status, @body  what is beside the body, or all of it
//
// After all of it, " ?? 0" is the value when there is none (null is none). Lists and objects are kept as JSON. A value
// that is longer than 4 KiB is none.
type Path struct {
	steps    []step
	fallback *Value
}

type step struct {
	name  string // or a number
	count bool   // of all elements, or of those that are looked for
	field string // of the elements that are looked for
	want  Template
	not   bool
}

// CompilePath reads a path. The error is INVALID_ARGUMENT.
func CompilePath(text string) (Path, error) {
	var p Path
	place, fallback, ok := strings.Cut(text, " ?? ")
	if ok {
		v := Value{Text: strings.TrimSpace(fallback)}
		v.JSON = scalar(v.Text)
		p.fallback = &v
	}
	place = strings.TrimSpace(place)
	if place == "" || len(place) > 1<<10 {
		return Path{}, invalid("%q is no path in an answer", cut(text, 80))
	}
	for rest, more := place, true; more; {
		var name string
		if inner, ok := strings.CutPrefix(rest, "#("); ok {
			condition, after, closed := strings.Cut(inner, ")")
			field, want, equals := strings.Cut(condition, "=")
			field, not := strings.CutSuffix(field, "!")
			after, all := strings.CutPrefix(after, "#")
			if !closed || !equals || field == "" || after != "" && after[0] != '.' {
				return Path{}, invalid("%q: an element is #(name=text) or #(name!=text)", cut(text, 80))
			}
			if all && after != "" {
				return Path{}, invalid("%q: nothing goes after #", cut(text, 80))
			}
			t, err := Compile(want)
			if err != nil {
				return Path{}, err
			}
			if slices.ContainsFunc(t.parts, func(p part) bool { return p.action != nil }) {
				return Path{}, invalid("%q: nothing is drawn in a path: it may have {{.variables}}", cut(text, 80))
			}
			p.steps = append(p.steps, step{field: field, want: t, not: not, count: all})
			rest, more = strings.CutPrefix(after, ".")
			continue
		}
		name, rest, more = strings.Cut(rest, ".")
		if name == "" {
			return Path{}, invalid("%q: a name is missing", cut(text, 80))
		}
		p.steps = append(p.steps, step{name: name, count: name == "#"})
		if name == "#" && more {
			return Path{}, invalid("%q: nothing goes after #", cut(text, 80))
		}
	}
	return p, p.beside()
}

// beside looks at paths that begin with "@".
func (p Path) beside() error {
	switch first := p.steps[0].name; {
	case !strings.HasPrefix(first, "@"):
		return nil
	case first == "@header" && len(p.steps) == 2 && p.steps[1].name != "",
		(first == "@status" || first == "@body") && len(p.steps) == 1:
		return nil
	default:
		return invalid("%s: what is beside the body is @header.NAME, @status, @body", first)
	}
}

// names returns the variables that the path uses.
func (p Path) names() (out []string) {
	for _, s := range p.steps {
		out = append(out, s.want.Names()...)
	}
	return out
}

// outside reports whether the value is beside the body.
func (p Path) outside() bool {
	return len(p.steps) > 0 && (p.steps[0].name == "@header" || p.steps[0].name == "@status")
}

// answer is what a path looks into.
type answer struct {
	from   string // the address that answered, if known
	status string
	header http.Header
	body   []byte

	parsed bool
	tree   any
}

// json returns the body as it was parsed, nil if it is no JSON.
func (a *answer) json() any {
	if !a.parsed {
		a.parsed = true
		d := json.NewDecoder(bytes.NewReader(a.body))
		d.UseNumber()
		if d.Decode(&a.tree) != nil {
			a.tree = nil
		}
	}
	return a.tree
}

// find returns the value, and whether there is one.
func (p Path) find(a *answer, vars Values) (Value, bool) {
	if v, ok := p.look(a, vars); ok && len(v.Text) <= maxKept {
		return v, true
	}
	if p.fallback != nil {
		return *p.fallback, true
	}
	return Value{}, false
}

func (p Path) look(a *answer, vars Values) (Value, bool) {
	switch p.steps[0].name {
	case "@status":
		return Value{a.status, scalar(a.status)}, true
	case "@body":
		return Value{Text: strings.ToValidUTF8(string(a.body), "\uFFFD")}, true
	case "@header":
		v := a.header.Values(p.steps[1].name)
		return Value{Text: strings.ToValidUTF8(strings.Join(v, ", "), "\uFFFD")}, len(v) > 0
	}
	at := a.json()
	for _, s := range p.steps {
		next, ok := s.into(at, vars)
		if !ok {
			return Value{}, false
		}
		at = next
	}
	return valueOf(at)
}

func (s step) into(at any, vars Values) (any, bool) {
	switch at := at.(type) {
	case map[string]any:
		v, ok := at[s.name]
		return v, ok && s.field == ""
	case []any:
		switch {
		case s.field != "":
			found := s.matching(at, vars)
			if s.count {
				return json.Number(strconv.Itoa(len(found))), true
			}
			if len(found) > 0 {
				return found[0], true
			}
		case s.count:
			return json.Number(strconv.Itoa(len(at))), true
		default:
			if i, err := strconv.Atoi(s.name); err == nil && i >= 0 && i < len(at) {
				return at[i], true
			}
		}
	}
	return nil, false
}

// matching returns the elements that are looked for.
func (s step) matching(all []any, vars Values) (out []any) {
	want := s.want.Fill(Draw{}, vars).Text
	for _, e := range all {
		object, _ := e.(map[string]any)
		v, ok := valueOf(object[s.field])
		if (ok && v.Text == want) != s.not {
			out = append(out, e)
		}
	}
	return out
}

func valueOf(v any) (Value, bool) {
	switch v := v.(type) {
	case nil:
		return Value{}, false
	case string:
		return Value{Text: v}, true
	case json.Number:
		return Value{v.String(), true}, true
	case bool:
		return Value{strconv.FormatBool(v), true}, true
	default:
		b, err := json.Marshal(v)
		return Value{string(b), true}, err == nil
	}
}

// scalar reports whether a text is a number, true or false in JSON.
func scalar(s string) bool {
	return s == "true" || s == "false" || s != "" && (s[0] == '-' || s[0] >= '0' && s[0] <= '9') && json.Valid([]byte(s))
}
