// Package strictyaml reads documents that people write: strictly, and with every problem at once, each with its line and
// column and, where one can be guessed, what was meant. It does no I/O.
package strictyaml

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

// Parser collects the problems of a document. Whoever reads goes on after each, so that all are found at once. The zero
// value is one without a file's name.
type Parser struct {
	// File is the name for messages.
	File     string
	problems Problems
}

// Problems returns what was found, in the order of the file, nil if that is nothing. What was added comes file by file.
func (p *Parser) Problems() Problems {
	if len(p.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(p.problems, func(a, b Problem) int {
		if a.File != b.File {
			return cmp.Or(cmp.Compare(p.rank(a.File), p.rank(b.File)), cmp.Compare(a.File, b.File))
		}
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	p.problems = slices.Compact(p.problems)
	if more := len(p.problems) - maxProblems; more > 0 {
		p.problems = append(p.problems[:maxProblems:maxProblems],
			Problem{File: p.File, Message: fmt.Sprintf("and %d more problems", more)})
	}
	return p.problems
}

// rank puts the parser's own file first.
func (p *Parser) rank(file string) int {
	if file == p.File {
		return 0
	}
	return 1
}

// Add adds problems that were found elsewhere, such as in a file that this one names.
func (p *Parser) Add(problems Problems) { p.problems = append(p.problems, problems...) }

// Problem adds a problem at n, or about the whole file if n is nil.
func (p *Parser) Problem(n *yaml.Node, format string, args ...any) {
	problem := Problem{File: p.File, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		problem.Line, problem.Column = n.Line, n.Column
	}
	p.problems = append(p.problems, problem)
}

// Parse reads the one document that b has to be and calls root with it. limit is the most bytes there may be; empty says
// what belongs there when there is nothing, and second why there is only one document.
func (p *Parser) Parse(b []byte, limit int, empty, second string, root func(n *yaml.Node)) {
	if len(b) > limit {
		p.Problem(nil, "larger than %d KiB", limit>>10)
		return
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	switch err := decode(dec, &doc); {
	case errors.Is(err, io.EOF):
		p.Problem(nil, "the file is empty; %s", empty)
		return
	case err != nil:
		p.syntax(b, err)
		return
	}
	root(doc.Content[0])
	var more yaml.Node
	switch err := decode(dec, &more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		p.syntax(b, err)
	default:
		p.Problem(&more, "a second document; %s", second)
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
func (p *Parser) syntax(b []byte, err error) {
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
	p.problems = append(p.problems, Problem{File: p.File, Line: line, Message: "not YAML: " + message + hint})
}

// Field is one key of a mapping and what to do with its value.
type Field struct {
	Name string
	Read func(value *yaml.Node)
}

// Mapping reads n by its fields and returns where each one was found. Unknown and repeated keys are problems.
func (p *Parser) Mapping(n *yaml.Node, what string, fields []Field) map[string]*yaml.Node {
	found := make(map[string]*yaml.Node, len(fields))
	p.Pairs(n, what, func(key, value *yaml.Node) {
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == key.Value })
		if i < 0 {
			names := make([]string, len(fields))
			for i, f := range fields {
				names[i] = f.Name
			}
			hint := "; known fields: " + strings.Join(names, ", ")
			if near := Nearest(key.Value, names); near != "" {
				hint = "; did you mean " + near + "?"
			}
			p.Problem(key, "unknown field %s%s", Bare(key.Value), hint)
			return
		}
		found[key.Value] = value
		fields[i].Read(value)
	})
	return found
}

// Pairs calls each for the entries of a mapping whose keys are plain and not repeated; the others are problems.
func (p *Parser) Pairs(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode || n.ShortTag() != "!!map" {
		p.Problem(n, "%s: want a mapping, got %s", what, Kind(n))
		return
	}
	first := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			p.Problem(key, "%s: a key has to be plain text, got %s", what, Kind(key))
			continue
		}
		if line, ok := first[key.Value]; ok {
			p.Problem(key, "duplicate %s, first on line %d", Bare(key.Value), line)
			continue
		}
		first[key.Value] = key.Line
		each(key, value)
	}
}

// Text returns the value of a string node.
func (p *Parser) Text(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		hint := ""
		if t := n.ShortTag(); t == "!!int" || t == "!!float" || t == "!!bool" {
			hint = "; put it in quotes"
		}
		p.Problem(n, "%s: want text, got %s%s", what, Kind(n), hint)
		return "", false
	}
	if i := strings.IndexFunc(n.Value, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7f }); i >= 0 {
		p.Problem(n, "%s: contains the control character %q", what, n.Value[i])
		return "", false
	}
	return n.Value, true
}

// Integer returns the value of an integer node if it is in lo..hi.
func (p *Parser) Integer(n *yaml.Node, what string, lo, hi int) (int, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
		p.Problem(n, "%s: want a whole number, got %s", what, Kind(n))
		return 0, false
	}
	v, err := strconv.Atoi(n.Value)
	if err != nil || v < lo || v > hi {
		p.Problem(n, "%s: %s is not between %d and %d", what, Bare(n.Value), lo, hi)
		return 0, false
	}
	return v, true
}

// Kind names what n is, for messages.
func Kind(n *yaml.Node) string {
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
			return "text " + Quote(n.Value)
		case "!!int", "!!float":
			return "the number " + Bare(n.Value)
		case "!!bool":
			return Bare(n.Value)
		case "!!merge":
			return "<< (not supported)"
		}
	}
	return "a value tagged " + Quote(n.ShortTag())
}

// Quote quotes a value for a message, cut so that a message stays one line.
func Quote(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}

// Bare is quote for what is readable without quotes.
func Bare(s string) string {
	if q := Quote(s); q != `"`+s+`"` || s == "" {
		return q
	}
	return s
}
