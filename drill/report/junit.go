package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
)

// The elements that Jenkins, GitLab and what else reads JUnit's XML agree on.
type (
	suites struct {
		XMLName  xml.Name `xml:"testsuites"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Time     string   `xml:"time,attr"`
		Suites   []suite  `xml:"testsuite"`
	}
	suite struct {
		Name       string     `xml:"name,attr"`
		Tests      int        `xml:"tests,attr"`
		Failures   int        `xml:"failures,attr"`
		Errors     int        `xml:"errors,attr"`
		Time       string     `xml:"time,attr"`
		Timestamp  string     `xml:"timestamp,attr"`
		Properties []property `xml:"properties>property"`
		Cases      []testCase `xml:"testcase"`
		Out        string     `xml:"system-out"`
	}
	property struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	testCase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Time    string   `xml:"time,attr"`
		Failure *outcome `xml:"failure"`
		Error   *outcome `xml:"error"`
	}
	outcome struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the XML that CI systems read: a suite for each report, in it one case for each expectation and each invariant,
// and one for whether the drill could be run. What is missed or broken is a failure, what could not be judged an error.
// Errors are those of w.
func JUnit(w io.Writer, reports ...*Report) error {
	all := suites{Name: "holdfast drill"}
	var length time.Duration
	for _, r := range reports {
		s, err := r.suite()
		if err != nil {
			return err
		}
		all.Suites = append(all.Suites, s)
		all.Tests, all.Failures, all.Errors = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors
		length += max(0, r.Length)
	}
	all.Time = seconds(length)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r *Report) suite() (suite, error) {
	name := clean(r.System+"."+r.Drill, 256)
	s := suite{
		Name: name, Time: seconds(r.Length), Timestamp: r.Began.UTC().Format("2006-01-02T15:04:05"),
		Properties: []property{
			{"verdict", r.Verdict().String()},
			{"command", clean(r.Command, maxText)},
			{"seed", strconv.FormatUint(r.Seed, 10)},
			{"version", clean(r.Version, 256)},
			{"machine", clean(r.Machine, 256)},
		},
	}
	add := func(name string, m mark, kind, message string, text []string) {
		c := testCase{Class: s.Name, Name: clean(name, 256), Time: "0.000"}
		o := &outcome{Message: clean(message, maxText), Type: kind}
		for _, line := range text {
			o.Text += "\n" + clean(line, maxText)
		}
		switch m {
		case kept:
		case missed:
			c.Failure = o
			s.Failures++
		case unknown:
			c.Error = o
			s.Errors++
		}
		s.Cases = append(s.Cases, c)
		s.Tests++
	}

	ran, why, undone := kept, "", []string(nil)
	for _, f := range r.Faults {
		if f.Error != "" {
			ran, why = unknown, "not everything could be broken, or mended"
			undone = append(undone, f.What+": "+f.Error)
		}
	}
	if len(r.Expectations)+len(r.Invariants) == 0 {
		ran, why = unknown, "nothing was expected of it, so there is nothing to judge"
	}
	if r.CouldNot != "" {
		ran, why = unknown, r.CouldNot
	}
	add("the drill could be run", ran, "could-not-run", why, undone)
	for _, e := range r.Expectations {
		message := fmt.Sprintf("%s was %s, and had to be %s", e.Name, e.Value, e.Goal)
		if e.Unknown != "" {
			message = e.Unknown
		}
		add(e.Name, expectationMark(e), "expectation", message, nil)
	}
	for _, v := range r.Invariants {
		add(v.Name, answerMark(v.Answer), "invariant", v.Says, findings(v))
	}

	var screen bytes.Buffer
	if err := Terminal(&screen, r, Screen{Width: 100, Height: 80}); err != nil {
		return suite{}, err
	}
	s.Out = "\n" + screen.String()
	return s, nil
}

// findings are the lines of what an invariant found, with its counter-example.
func findings(v check.Verdict) []string {
	var out []string
	for _, f := range v.Findings {
		out = append(out, clean(f, maxText))
	}
	if v.More > 0 {
		out = append(out, fmt.Sprintf("and %s more", count(v.More)))
	}
	if len(v.History) == 0 {
		return out
	}
	h := newHistory(v.History)
	if h.Says != "" {
		out = append(out, h.Says)
	}
	for _, b := range h.Bars {
		out = append(out, fmt.Sprintf("%s: client %d %s (%s)", clean(b.Key, 128), b.Client, b.What(), b.When()))
	}
	return out
}

// When is the time of an operation in words.
func (b bar) When() string {
	if b.Ended == 0 {
		return fmt.Sprintf("from %.3f s on, never answered", b.Begun.Seconds())
	}
	return strings.TrimSpace(fmt.Sprintf("%.3f to %.3f s", b.Begun.Seconds(), b.Ended.Seconds()))
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }
