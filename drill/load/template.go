package load

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

const (
	maxTemplate = 64 << 10 // bytes of a template
	maxFilled   = 1 << 20  // bytes of what comes of one
	maxText     = 64 << 10 // letters of {{text}}
)

// Template is a text with parts that are filled in:
//
//	{{uuid}}            a random UUID
//	{{int 1 500}}       a number from 1 to 500, each as likely
//	{{zipf 1 500}}      a number from 1 to 500, small ones far more often: what is popular
//	{{pick a "b c" 3}}  one of them
//	{{text 100}}        so many random letters, at most 65536
//	{{seq}}             0, 1, 2, …: the number of the call; no two of a run have the same
//	{{run}}             a few letters that are another's in each run: for names that are not to be there yet
//	{{.name}}           a variable
//
// All of it is drawn from the seed, except for uuid and run: what a drill creates twice with the same seed is not the same.
// What comes of one is cut at 1 MiB. The zero value is empty.
type Template struct {
	text  string
	parts []part
}

// part is a literal, or an action.
type part struct {
	literal string
	action  action
	name    string // of a variable
}

// action draws a value.
type action func(d Draw) Value

// Draw is what a template draws from.
type Draw struct {
	Rand *mathrand.Rand
	Seq  int64
	Run  string
}

// Value is a text; or, with JSON, what stands in JSON as it is: a number, true, false, a list.
type Value struct {
	Text string
	JSON bool
}

// Values are what templates are filled with.
type Values map[string]Value

func invalid(format string, args ...any) error {
	return failure.New(failure.InvalidArgument, format, args...)
}

// Compile reads a template. The error says what is wrong with it, and is INVALID_ARGUMENT.
func Compile(text string) (Template, error) {
	t := Template{text: text}
	if len(text) > maxTemplate {
		return Template{}, invalid("a template of %d bytes: at most %d", len(text), maxTemplate)
	}
	for rest := text; rest != ""; {
		literal, after, found := strings.Cut(rest, "{{")
		if literal != "" {
			t.parts = append(t.parts, part{literal: literal})
		}
		if !found {
			break
		}
		words, after, err := tokens(after)
		if err != nil {
			return Template{}, err
		}
		p, err := compileAction(words)
		if err != nil {
			return Template{}, err
		}
		t.parts = append(t.parts, p)
		rest = after
	}
	return t, nil
}

// token is a word of an action.
type token struct {
	text   string
	quoted bool
}

// tokens reads the words until "}}", and returns what is after it.
func tokens(text string) (words []token, after string, err error) {
	for rest := text; ; {
		rest = strings.TrimLeft(rest, " \t")
		switch {
		case rest == "":
			return nil, "", invalid("{{ without }}")
		case strings.HasPrefix(rest, "}}"):
			return words, rest[2:], nil
		case rest[0] == '"':
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, "", invalid("a quote in {{%s is not closed", cut(rest, 40))
			}
			word, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, "", invalid("%s in {{…}} is no quoted text", cut(quoted, 40))
			}
			words = append(words, token{word, true})
			rest = rest[len(quoted):]
		default:
			end := strings.IndexAny(rest, " \t\"}")
			if end == 0 { // a single }
				return nil, "", invalid("{{%s: } instead of }}", cut(text, 40))
			}
			if end < 0 {
				return nil, "", invalid("{{%s without }}", cut(text, 40))
			}
			words = append(words, token{rest[:end], false})
			rest = rest[end:]
		}
	}
}

// usage of the actions, for messages.
const usage = "uuid, int FROM TO, zipf FROM TO, pick A B…, text LENGTH, seq, run, .name"

func compileAction(words []token) (part, error) {
	if len(words) == 0 {
		return part{}, invalid("{{}} says nothing: %s", usage)
	}
	name, args := words[0].text, words[1:]
	if variable, ok := strings.CutPrefix(name, "."); ok {
		if !validName(variable) || len(args) > 0 {
			return part{}, invalid("{{%s}}: a variable is a dot and letters, digits, - or _", join(words))
		}
		return part{name: variable}, nil
	}
	var act action
	var err error
	switch name {
	case "uuid":
		act, err = constant(args, func(Draw) Value { return Value{Text: uuid()} })
	case "run":
		act, err = constant(args, func(d Draw) Value { return Value{Text: d.Run} })
	case "seq":
		act, err = constant(args, func(d Draw) Value { return Value{strconv.FormatInt(d.Seq, 10), true} })
	case "int", "zipf":
		act, err = number(name == "zipf", args)
	case "pick":
		act, err = pick(args)
	case "text":
		act, err = letters(args)
	default:
		return part{}, invalid("{{%s}}: there is no %s; there are %s", join(words), name, usage)
	}
	if err != nil {
		return part{}, invalid("{{%s}}: %s", join(words), failure.From(err).Message)
	}
	return part{action: act}, nil
}

func constant(args []token, act action) (action, error) {
	if len(args) > 0 {
		return nil, invalid("nothing goes after it")
	}
	return act, nil
}

func number(popular bool, args []token) (action, error) {
	if len(args) != 2 {
		return nil, invalid("two numbers go after it, the least and the greatest")
	}
	from, err1 := strconv.ParseInt(args[0].text, 10, 64)
	to, err2 := strconv.ParseInt(args[1].text, 10, 64)
	if err1 != nil || err2 != nil || from > to || uint64(to)-uint64(from) > 1<<53 {
		return nil, invalid("two whole numbers go after it, the least and the greatest, at most 2^53 apart")
	}
	span := to - from
	return func(d Draw) Value {
		n := d.Rand.Int64N(span + 1)
		if popular {
			n = int64(mathrand.NewZipf(d.Rand, 1.1, 1, uint64(span)).Uint64()) //nolint:gosec // at most span
		}
		return Value{strconv.FormatInt(from+n, 10), true}
	}, nil
}

func pick(args []token) (action, error) {
	if len(args) == 0 {
		return nil, invalid("what to pick from goes after it")
	}
	values := make([]Value, len(args))
	for i, a := range args {
		values[i] = Value{a.text, !a.quoted && scalar(a.text)}
	}
	return func(d Draw) Value { return values[d.Rand.IntN(len(values))] }, nil
}

func letters(args []token) (action, error) {
	if len(args) != 1 {
		return nil, invalid("how many letters goes after it")
	}
	n, err := strconv.Atoi(args[0].text)
	if err != nil || n < 0 || n > maxText {
		return nil, invalid("a number from 0 to %d goes after it", maxText)
	}
	return func(d Draw) Value {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte('a' + d.Rand.IntN(26)) //nolint:gosec // a letter
		}
		return Value{Text: string(b)}
	}, nil
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newRun returns what {{run}} is for one run.
func newRun() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

func validName(s string) bool {
	for i, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func join(words []token) string {
	var out []string
	for _, w := range words {
		if w.quoted {
			out = append(out, strconv.Quote(w.text))
		} else {
			out = append(out, w.text)
		}
	}
	return cut(strings.Join(out, " "), 80)
}

// Names returns the variables that the template uses, each once.
func (t Template) Names() []string {
	var out []string
	for _, p := range t.parts {
		if p.name != "" && !slices.Contains(out, p.name) {
			out = append(out, p.name)
		}
	}
	return out
}

// String returns the template as it was read.
func (t Template) String() string { return t.text }

// Fill fills a template in. Variables that are not there are empty.
func (t Template) Fill(d Draw, vars Values) Value {
	if len(t.parts) == 1 && t.parts[0].literal == "" {
		v := t.parts[0].value(d, vars)
		v.Text = cut(v.Text, maxFilled)
		return v
	}
	return Value{Text: t.write(d, vars, func(_, v string) string { return v })}
}

// write fills a template in, with values as escape makes them; it is told what stands before.
func (t Template) write(d Draw, vars Values, escape func(before, value string) string) string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.literal != "" {
			b.WriteString(p.literal)
		} else {
			b.WriteString(escape(b.String(), p.value(d, vars).Text))
		}
		if b.Len() > maxFilled {
			break
		}
	}
	return cut(b.String(), maxFilled)
}

func (p part) value(d Draw, vars Values) Value {
	switch {
	case p.literal != "":
		return Value{Text: p.literal}
	case p.action != nil:
		return p.action(d)
	default:
		return vars[p.name]
	}
}

// cut cuts a text at n bytes, between letters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
