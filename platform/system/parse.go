package system

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Parse decodes and validates a system file. The name is only used in messages. The error, if any, is a Problems with
// all that is wrong.
func Parse(name string, b []byte) (*System, error) {
	p := &parser{file: name}
	p.parse(b)
	return p.result()
}

// parser collects a system and its problems. It goes on after each problem, so that all are found at once.
type parser struct {
	file     string
	sys      System
	problems Problems

	// Beside sys.Services: where each one's name, run, http and needs are.
	names, runs, addrs []*yaml.Node
	needs              [][]*yaml.Node
}

func (p *parser) result() (*System, error) {
	if len(p.problems) == 0 {
		return &p.sys, nil
	}
	slices.SortStableFunc(p.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	p.problems = slices.Compact(p.problems)
	if more := len(p.problems) - maxProblems; more > 0 {
		p.problems = append(p.problems[:maxProblems:maxProblems],
			Problem{File: p.file, Message: fmt.Sprintf("and %d more problems", more)})
	}
	return nil, p.problems
}

// problem adds a problem at n, or about the whole file if n is nil.
func (p *parser) problem(n *yaml.Node, format string, args ...any) {
	problem := Problem{File: p.file, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		problem.Line, problem.Column = n.Line, n.Column
	}
	p.problems = append(p.problems, problem)
}

func (p *parser) parse(b []byte) {
	if len(b) > MaxBytes {
		p.problem(nil, "larger than %d KiB", MaxBytes>>10)
		return
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	switch err := decode(dec, &doc); {
	case errors.Is(err, io.EOF):
		p.problem(nil, "the file is empty; it starts with system: NAME")
		return
	case err != nil:
		p.syntax(b, err)
		return
	}
	p.system(doc.Content[0])
	var more yaml.Node
	switch err := decode(dec, &more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		p.syntax(b, err)
	default:
		p.problem(&more, "a second document; a file describes one system")
	}
}

// decode turns a panic of the YAML library, which reads what anyone wrote, into an error.
func decode(dec *yaml.Decoder, n *yaml.Node) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("yaml: %v", v)
		}
	}()
	return dec.Decode(n)
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// syntax adds an error of the YAML library, which has its line in the text.
func (p *parser) syntax(b []byte, err error) {
	message := err.Error()
	var line int
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	message = strings.TrimPrefix(message, "yaml: ")
	hint := ""
	if lines := bytes.Split(b, []byte("\n")); line > 0 && line <= len(lines) && bytes.HasPrefix(bytes.TrimLeft(lines[line-1], " "), []byte("\t")) {
		hint = " (indent with blanks, not with tabs)"
	}
	p.problems = append(p.problems, Problem{File: p.file, Line: line, Message: "not YAML: " + message + hint})
}

// field is one key of a mapping and what to do with its value.
type field struct {
	name string
	read func(value *yaml.Node)
}

// mapping reads n by its fields and returns where each one was found. Unknown and repeated keys are problems.
func (p *parser) mapping(n *yaml.Node, what string, fields []field) map[string]*yaml.Node {
	found := make(map[string]*yaml.Node, len(fields))
	p.pairs(n, what, func(key, value *yaml.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key.Value })
		if i < 0 {
			names := make([]string, len(fields))
			for i, f := range fields {
				names[i] = f.name
			}
			hint := "; known fields: " + strings.Join(names, ", ")
			if near := nearest(key.Value, names); near != "" {
				hint = "; did you mean " + near + "?"
			}
			p.problem(key, "unknown field %s%s", bare(key.Value), hint)
			return
		}
		found[key.Value] = value
		fields[i].read(value)
	})
	return found
}

// pairs calls each for the entries of a mapping whose keys are plain and not repeated; the others are problems.
func (p *parser) pairs(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode || n.ShortTag() != "!!map" {
		p.problem(n, "%s: want a mapping, got %s", what, kind(n))
		return
	}
	first := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			p.problem(key, "%s: a key has to be plain text, got %s", what, kind(key))
			continue
		}
		if line, ok := first[key.Value]; ok {
			p.problem(key, "duplicate %s, first on line %d", bare(key.Value), line)
			continue
		}
		first[key.Value] = key.Line
		each(key, value)
	}
}

// text returns the value of a string node.
func (p *parser) text(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		hint := ""
		if t := n.ShortTag(); t == "!!int" || t == "!!float" || t == "!!bool" {
			hint = "; put it in quotes"
		}
		p.problem(n, "%s: want text, got %s%s", what, kind(n), hint)
		return "", false
	}
	if i := strings.IndexFunc(n.Value, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7f }); i >= 0 {
		p.problem(n, "%s: contains the control character %q", what, n.Value[i])
		return "", false
	}
	return n.Value, true
}

// integer returns the value of an integer node if it is in lo..hi.
func (p *parser) integer(n *yaml.Node, what string, lo, hi int) (int, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
		p.problem(n, "%s: want a whole number, got %s", what, kind(n))
		return 0, false
	}
	v, err := strconv.Atoi(n.Value)
	if err != nil || v < lo || v > hi {
		p.problem(n, "%s: %s is not between %d and %d", what, bare(n.Value), lo, hi)
		return 0, false
	}
	return v, true
}

// kind names what n is, for messages.
func kind(n *yaml.Node) string {
	switch n.Kind { //nolint:exhaustive // a document is no value
	case yaml.MappingNode:
		if n.ShortTag() == "!!map" {
			return "a mapping"
		}
	case yaml.SequenceNode:
		if n.ShortTag() == "!!seq" {
			return "a list"
		}
	case yaml.AliasNode:
		return "an alias (not supported)"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return "nothing"
		case "!!str":
			return "text " + quote(n.Value)
		case "!!int", "!!float":
			return "the number " + bare(n.Value)
		case "!!bool":
			return bare(n.Value)
		case "!!merge":
			return "<< (not supported)"
		}
	}
	return "a value tagged " + quote(n.ShortTag())
}

// quote quotes a value for a message, cut so that a message stays one line.
func quote(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}

// bare is quote for what is readable without quotes.
func bare(s string) string {
	if q := quote(s); q != `"`+s+`"` || s == "" {
		return q
	}
	return s
}
