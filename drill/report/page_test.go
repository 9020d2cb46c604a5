package report_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
)

// elements parses a page and returns its elements, with the text of scripts and styles as Data of their first child.
func elements(t testing.TB, reports ...*report.Report) []*html.Node {
	t.Helper()
	var b bytes.Buffer
	if err := report.HTML(&b, reports...); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	var out []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			out = append(out, n)
		}
	}
	return out
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// The page asks for nothing, runs nothing but its own script, and works where its own policy is in force.
func TestThePageNeedsNothingElse(t *testing.T) {
	var policy string
	blocks := map[string][]string{}
	for _, n := range elements(t, sample(), badSample(), notRun()) {
		for _, a := range n.Attr {
			if slices.Contains([]string{"src", "href", "action", "srcset", "data", "poster", "xlink:href", "formaction"}, a.Key) && !strings.HasPrefix(a.Val, "#") {
				t.Errorf("<%s %s=%q> is outside of the page", n.Data, a.Key, a.Val)
			}
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s %s=%q> is against the page's policy", n.Data, a.Key, a.Val)
			}
		}
		switch n.Data {
		case "script", "style":
			blocks[n.Data] = append(blocks[n.Data], n.FirstChild.Data)
		case "link", "iframe", "object", "embed", "img", "base":
			t.Errorf("there is a <%s>", n.Data)
		case "meta":
			if attr(n, "http-equiv") == "Content-Security-Policy" {
				policy = attr(n, "content")
			}
		}
	}
	for name, list := range blocks {
		if len(list) != 1 {
			t.Fatalf("there are %d of <%s>", len(list), name)
		}
		sum := sha256.Sum256([]byte(list[0]))
		if want := name + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want) {
			t.Errorf("the policy %q does not allow the page's own <%s>: %s", policy, name, want)
		}
		if regexp.MustCompile(`url\(|@import|fetch\(|innerHTML|eval\(`).MatchString(list[0]) {
			t.Errorf("the <%s> fetches, or makes markup of text", name)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none';") {
		t.Errorf("the policy is %q", policy)
	}
}

// What people who cannot see the page, or use no mouse, need.
func TestThePageIsAccessible(t *testing.T) {
	for name, list := range map[string][]*report.Report{"one": {badSample()}, "several": {sample(), badSample(), notRun()}} {
		level, ids := 0, map[string]bool{}
		for _, n := range elements(t, list...) {
			switch n.Data {
			case "html":
				if attr(n, "lang") == "" {
					t.Errorf("%s: no language", name)
				}
			case "h1", "h2", "h3", "h4":
				next := int(n.Data[1] - '0')
				if next > level+1 {
					t.Errorf("%s: <%s> after <h%d>", name, n.Data, level)
				}
				level = next
			case "th":
				if attr(n, "scope") == "" {
					t.Errorf("%s: a <th> without scope", name)
				}
			case "svg":
				nested := n.Parent.Data == "svg"
				if !nested && attr(n, "aria-hidden") != "true" && (attr(n, "role") != "img" || attr(n, "aria-label") == "") {
					t.Errorf("%s: an <svg class=%q> says nothing of itself", name, attr(n, "class"))
				}
			case "div":
				if strings.Contains(attr(n, "class"), "scroll") && (attr(n, "tabindex") != "0" || attr(n, "aria-label") == "") {
					t.Errorf("%s: what scrolls cannot be reached with the keyboard", name)
				}
			}
			if id := attr(n, "id"); id != "" {
				if ids[id] {
					t.Errorf("%s: two have the id %s", name, id)
				}
				ids[id] = true
			}
		}
		for _, n := range elements(t, list...) {
			if href := attr(n, "href"); href != "" && !ids[strings.TrimPrefix(href, "#")] {
				t.Errorf("%s: nothing is at %s", name, href)
			}
		}
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// No text from outside becomes markup, an escape sequence or a line of its own, in any of the outputs.
func FuzzEscaping(f *testing.F) {
	for _, s := range []string{
		`</title></script><script>alert(1)</script>`, `" onload="alert(1)`, "\x1b]0;owned\x07\x1b[2J", "a\r\nb\u2028c\x00d\xff\xfe", "]]>", "{{.}}",
		`javascript:alert(1)`, "\u202e", strings.Repeat("x", 5000), "' style='background:url(//x)", "",
	} {
		f.Add(s)
	}
	calm := len(elements(f, hostile("calm")))
	f.Fuzz(func(t *testing.T, s string) {
		r := hostile(s)
		if n := len(elements(t, r)); n != calm && strings.TrimSpace(s) != "" { // what is empty may be left out
			t.Fatalf("%d elements, with harmless text %d", n, calm)
		}
		var b bytes.Buffer
		if err := report.Terminal(&b, r, report.Screen{Color: true, Width: 80}); err != nil {
			t.Fatal(err)
		}
		text := sgr.ReplaceAllString(b.String(), "")
		if strings.ContainsAny(text, "\x1b\x00\x07\r\u009b\u202e\u2028") || !utf8.ValidString(text) {
			t.Fatalf("the terminal would obey %q", text)
		}
		b.Reset()
		if err := report.Summary(&b, report.Screen{}, r); err != nil || strings.Count(b.String(), "\n") != 3 {
			t.Fatalf("the summary is %q: %v", b.String(), err)
		}
		b.Reset()
		if err := report.JSON(&b, r); err != nil || !json.Valid(b.Bytes()) {
			t.Fatalf("JSON: %v", err)
		}
		b.Reset()
		if err := report.JUnit(&b, r); err != nil {
			t.Fatal(err)
		}
		var suites struct {
			Cases []struct {
				Class string `xml:"classname,attr"`
			} `xml:"testsuite>testcase"`
		}
		if err := xml.Unmarshal(b.Bytes(), &suites); err != nil || len(suites.Cases) != 3 {
			t.Fatalf("JUnit has %d cases: %v", len(suites.Cases), err)
		}
	})
}

// hostile has the text wherever text can come from outside.
func hostile(s string) *report.Report {
	return &report.Report{
		System: s, Drill: s, About: "about" + s, Command: s, Version: "v" + s, Machine: "m" + s, Length: 10 * time.Second, HeldUp: time.Second,
		Figures:      report.Figures{Calls: 2, OK: 1, Failed: 1, Success: math.NaN(), Amplification: math.Inf(1)},
		Calls:        []report.Call{{Name: s}},
		Faults:       []report.Fault{{Kind: s, What: s, Target: []string{s}, Begun: time.Second, Ended: 2 * time.Second}, {Kind: s, What: s, Error: "e" + s}},
		Expectations: []report.Expectation{{Name: s, Goal: "g" + s, Value: s}},
		Invariants: []check.Verdict{{
			Name: s, Answer: check.Broken, Says: s, Findings: []string{s}, At: time.Second,
			History: []check.Operation{{Key: s, Write: true, Value: s, Begun: 1}, {Key: s, Value: "v" + s, Begun: 2, Ended: 3}},
		}},
		Timeline:  []report.Slice{{From: 0, OK: 1, P50: time.Millisecond, P99: time.Millisecond}, {From: time.Second, Failed: 1}},
		Instances: []report.Instance{{ID: s, Phases: []report.Phase{{State: "s" + s}, {From: time.Second, State: "ready"}}}},
		Failed: []report.Failure{{
			Sample: load.Sample{Call: s, Status: s, Error: "e" + s, Instance: "i" + s, Vars: map[string]string{"v" + s: s}}, During: []string{"d" + s}, Explain: "x" + s,
		}},
		Advice: []string{s}, LeftOut: []string{s},
	}
}

// Whatever is in a report, a page of it stays one that a browser can show.
func TestPagesAreBounded(t *testing.T) {
	r := long()
	for range 3 {
		r.Faults = append(r.Faults, r.Faults...)
		r.Instances = append(r.Instances, r.Instances...)
	}
	for i := range 5000 {
		r.Failed = append(r.Failed, report.Failure{Sample: load.Sample{Call: "browse", Error: strings.Repeat("e", 1<<10), Due: time.Duration(i)}})
		r.Instances[0].Phases = append(r.Instances[0].Phases, report.Phase{From: time.Duration(i) * time.Millisecond, State: "backoff"})
	}
	r.Timeline = append(r.Timeline, report.Slice{From: math.MaxInt64, OK: 1}, report.Slice{From: -1 << 62})
	r.Faults = append(r.Faults, report.Fault{Begun: math.MaxInt64, Ended: math.MaxInt64}, report.Fault{Begun: -5, Ended: -9})
	var b bytes.Buffer
	if err := report.HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 4<<20 {
		t.Errorf("a page of %d MiB", b.Len()>>20)
	}
	b.Reset()
	if err := report.Terminal(&b, r, report.Screen{Height: 40}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n > 40 {
		t.Errorf("%d lines in a terminal of 40:\n%s", n, b.String())
	}
}

// What is written fits the terminal, in columns and, without color, in characters.
func TestTerminalIsAsWideAsItIs(t *testing.T) {
	for name, r := range map[string]*report.Report{"good": sample(), "bad": badSample(), "notrun": notRun(), "long": long()} {
		for _, width := range []int{1, 40, 60, 80, 119, 200} {
			for _, s := range []report.Screen{{Width: width}, {Width: width, Color: true}, {Width: width, ASCII: true}} {
				var b bytes.Buffer
				if err := report.Terminal(&b, r, s); err != nil {
					t.Fatal(err)
				}
				if !s.Color && strings.Contains(b.String(), "\x1b") {
					t.Errorf("%s: colours, without a terminal", name)
				}
				limit := min(120, max(40, width))
				for line := range strings.Lines(sgr.ReplaceAllString(b.String(), "")) {
					line = strings.TrimRight(line, "\n")
					if n := utf8.RuneCountInString(line); n > limit && !strings.Contains(line, r.Command) { // that is there to be copied
						t.Errorf("%s: %d columns of %d: %s", name, n, limit, line)
					}
				}
			}
		}
	}
}
