package load_test

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/failure"
)

func draw(seed uint64) load.Draw {
	return load.Draw{Rand: rand.New(rand.NewPCG(seed, 0)), Seq: 7, Run: "1f"} //nolint:gosec // the same each time
}

func TestTemplatesAreFilledIn(t *testing.T) {
	t.Parallel()
	vars := load.Values{"customer": {Text: "c-1"}, "n": {Text: "12", JSON: true}}
	for text, want := range map[string]string{
		"":                          ``,
		"plain } text":              `plain } text`,
		"{{.customer}}":             `c-1`,
		"a{{ .n }}b{{.customer}}c":  `a12bc-1c`,
		"{{.missing}}":              ``,
		"{{seq}}-{{run}}":           `7-1f`,
		"{{int 3 3}}":               `3`,
		"{{int -5 -5}}":             `-5`,
		`{{pick "a }} b"}}`:         `a }} b`,
		"{{pick x x}}":              `x`,
		"{{zipf 4 4}}":              `4`,
		"{{text 0}}":                ``,
		"{{int 1 5}}":               `[1-5]`,
		"{{text 9}}":                `[a-z]{9}`,
		"{{uuid}}":                  `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`,
		"{{zipf 10 99}}":            `[1-9][0-9]`,
		"\xff{{pick \"\\u00e9\"}}z": "\xff\u00e9z",
	} {
		tmpl, err := load.Compile(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := tmpl.Fill(draw(1), vars).Text; got != want && !regexp.MustCompile(`^(?:`+want+`)$`).MatchString(got) {
			t.Errorf("%q is filled in as %q, not %q", text, got, want)
		}
	}
}

func TestWhatIsWrongWithATemplateIsSaid(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{{":                             "without }}",
		"{{uuid":                         "without }}",
		"{{uuid }":                       "instead of }}",
		"{{}}":                           "says nothing",
		"{{uid}}":                        "there is no uid",
		"{{uuid 4}}":                     "nothing goes after",
		"{{int 1}}":                      "two numbers",
		"{{int 5 1}}":                    "least and the greatest",
		"{{int a b}}":                    "whole numbers",
		"{{int 0 99999999999999999999}}": "whole numbers",
		"{{int -9223372036854775808 9223372036854775807}}": "at most 2^53 apart",
		"{{pick}}":                 "what to pick from",
		`{{pick "a}}`:              "not closed",
		"{{text -1}}":              "from 0 to",
		"{{text 99999999}}":        "from 0 to",
		"{{.}}":                    "a dot and letters",
		"{{.a b}}":                 "a dot and letters",
		"{{.a.b}}":                 "a dot and letters",
		strings.Repeat("x", 70000): "at most 65536",
	} {
		_, err := load.Compile(text)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, failure.InvalidArgument) {
			t.Errorf("%.40q: %v, which does not say %q", text, err, want)
		}
	}
}

func TestNumbersStayNumbers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"{{int 1 1}}": true, "{{seq}}": true, "{{pick 1 2}}": true, "{{pick true false}}": true, "{{.n}}": true,
		`{{pick "1"}}`: false, "{{pick a}}": false, "{{int 1 1}} ": false, "{{uuid}}": false, "1": false,
	} {
		tmpl, err := load.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := tmpl.Fill(draw(1), load.Values{"n": {Text: "1", JSON: true}}).JSON; got != want {
			t.Errorf("%q is JSON as it stands: %v", text, got)
		}
	}
}

func TestTheSameSeedDrawsTheSame(t *testing.T) {
	t.Parallel()
	tmpl, err := load.Compile("{{int 1 1000000}} {{zipf 1 1000}} {{pick a b c d e f}} {{text 20}}")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		if a, b := tmpl.Fill(draw(seed), nil), tmpl.Fill(draw(seed), nil); a != b {
			t.Fatalf("%v and %v", a, b)
		}
	})
	if a, b := tmpl.Fill(draw(1), nil), tmpl.Fill(draw(2), nil); a == b {
		t.Errorf("two seeds draw the same: %v", a)
	}
	unique, _ := load.Compile("{{uuid}}")
	if a, b := unique.Fill(draw(1), nil), unique.Fill(draw(1), nil); a == b {
		t.Error("a uuid comes twice: a second run of a drill would repeat the keys of the first")
	}
}

func TestPopularNumbersComeMoreOften(t *testing.T) {
	t.Parallel()
	tmpl, _ := load.Compile("{{zipf 1 1000}}")
	d, ones := draw(3), 0
	for range 1000 {
		if tmpl.Fill(d, nil).Text == "1" {
			ones++
		}
	}
	if ones < 50 {
		t.Errorf("1 came %d times of 1000", ones)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"", "{{uuid}}", "a{{int 1 5}}{{.x}}", `{{pick "a" b 3}}`, "{{{{}}", `{{pick "`, "{{text 70000}}", "{{zipf 1 9}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tmpl, err := load.Compile(text)
		if err != nil {
			if !errors.Is(err, failure.InvalidArgument) {
				t.Errorf("%v", err)
			}
			return
		}
		if got := tmpl.Fill(draw(1), load.Values{"x": {Text: "y"}}).Text; len(got) > 1<<20 {
			t.Errorf("%d bytes", len(got))
		}
		for _, name := range tmpl.Names() {
			if !strings.Contains(text, name) {
				t.Errorf("%q uses %q", text, name)
			}
		}
	})
}
