package drill

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/internal/strictyaml"
)

// Bounds of a scenario file.
const (
	MaxBytes    = 256 << 10
	maxName     = 64
	maxText     = 64 << 10
	maxCalls    = 100
	maxSteps    = 1000
	maxFaults   = 10_000
	maxChecks   = 50
	maxRate     = 100_000
	maxDuration = 24 * time.Hour
	// Dir is where the drills of a system are, beside its system file, each in a file of its own.
	Dir = "drills"
)

// Problem is one thing that is wrong in a scenario file.
type Problem = strictyaml.Problem

// Problems is the error of Parse and Load about a file's content: everything that is wrong, in the order of the file.
type Problems = strictyaml.Problems //nolint:errname // as there

// Parse decodes and validates a scenario file. The name is only used in messages, and to name a drill that does not say how it
// is called. The error, if any, is a Problems with all that is wrong.
func Parse(name string, b []byte) (*Scenario, error) { return parse(name, b, nil) }

// parse is Parse for a file of a system that has a base: see LoadDir.
func parse(name string, b []byte, base *Scenario) (*Scenario, error) {
	p := &parser{Parser: strictyaml.Parser{File: name}, base: base}
	p.sc.File = name
	p.Parse(b, MaxBytes, "it has load:, faults: and expect:", "a file is one drill", p.scenario)
	if problems := p.Problems(); problems != nil {
		return nil, problems
	}
	return &p.sc, nil
}

// read reads one file.
func read(path string, base *Scenario) (*Scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load drill: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxBytes+1)) // one more, so that Parse sees that it is too much
	if err != nil {
		return nil, fmt.Errorf("load drill: %w", err)
	}
	return parse(path, b, base)
}

// LoadDir reads every drill of a system: the files DIR/drills/*.yaml. There are none without that directory. What is wrong in
// several files is one Problems.
//
// If one of them is standard.yaml, the others take from it what they do not say: one without calls has its calls and vars, one
// without a rate its rate, each its promises, but for those that it makes itself; its invariants are added to those of each drill
// with its calls.
func LoadDir(dir string) ([]*Scenario, error) {
	paths, err := filepath.Glob(filepath.Join(dir, Dir, "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("load drills: %w", err)
	}
	standard := filepath.Join(dir, Dir, StandardName+".yaml")
	if i := slices.Index(paths, standard); i > 0 { // the others are made of it
		paths = slices.Insert(slices.Delete(paths, i, i+1), 0, standard)
	}
	var out []*Scenario
	var all Problems
	var base *Scenario
	names := make(map[string]string)
	for _, path := range paths {
		sc, err := read(path, base)
		var problems Problems
		switch {
		case errors.As(err, &problems):
			all = append(all, problems...)
			continue
		case errors.Is(err, fs.ErrNotExist):
			continue // a link to nothing, or just deleted
		case err != nil:
			return nil, err
		}
		if first, ok := names[sc.Name]; ok {
			all = append(all, Problem{File: path, Message: fmt.Sprintf("the drill %s is in %s, too", sc.Name, first)})
		}
		if path == standard {
			base = sc
		}
		names[sc.Name] = path
		out = append(out, sc)
	}
	if len(all) > 0 {
		return nil, all
	}
	return out, nil
}

// parser collects a scenario and its problems. It goes on after each, so that all are found at once.
type parser struct {
	strictyaml.Parser
	sc Scenario

	base    *Scenario // what is taken from it where the file does not say
	forNode *yaml.Node
	ends    []end  // when each fault is over, and where that is written
	wanted  []want // calls that invariants are about
	steps   bool   // the load says how long it is
	uses    []use  // variables that what is being read uses
	known   []use  // those that the load uses
}

type end struct {
	at    time.Duration
	lasts bool
	n     *yaml.Node
}

type want struct {
	call string
	n    *yaml.Node
}

var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

func (p *parser) scenario(n *yaml.Node) {
	found := p.Mapping(n, "the file", []strictyaml.Field{
		{Name: "drill", Read: p.name},
		{Name: "about", Read: func(v *yaml.Node) { p.sc.About, _ = p.Text(v, "about") }},
		{Name: "for", Read: func(v *yaml.Node) { p.sc.For, p.forNode = p.duration(v, "for"), v }},
		{Name: "load", Read: p.load},
		{Name: "faults", Read: p.faults},
		{Name: "random", Read: p.random},
		{Name: "expect", Read: p.expect},
		{Name: "invariants", Read: p.invariants},
	})
	if n.Kind != yaml.MappingNode {
		return
	}
	if found["drill"] == nil {
		p.sc.Name = strings.TrimSuffix(filepath.Base(p.File), filepath.Ext(p.File))
		if !nameRule.MatchString(p.sc.Name) || len(p.sc.Name) > maxName {
			p.Problem(n, "no field drill: the drill needs a name")
		}
	}
	if p.steps && p.forNode != nil {
		p.Problem(p.forNode, "for: the steps of the load say how long it lasts; remove one of the two")
	}
	p.takeBase()
	p.checkEnds()
	p.checkWanted()
	p.checkUses()
}

// takeBase takes from the base what the file does not say.
func (p *parser) takeBase() {
	if p.base == nil {
		return
	}
	mix := &p.sc.Load
	if len(mix.Steps) == 0 {
		// The base's own length is for it alone: its steps last as long as this drill does.
		mix.Steps = slices.Clone(p.base.Load.Steps)
		if length := mix.Length(); length > 0 && p.sc.For == 0 {
			p.sc.For = max(length, p.sc.faultsLast())
		}
	}
	p.sc.Expect = p.sc.Expect.or(p.base.Expect)
	if len(mix.Calls) > 0 {
		return
	}
	mix.Calls = slices.Clone(p.base.Load.Calls)
	vars := make(map[string]string)
	maps.Copy(vars, p.base.Load.Vars)
	maps.Copy(vars, mix.Vars)
	mix.Vars = vars
	p.sc.Invariants = append(p.sc.Invariants, p.base.Invariants...)
}

func (p *parser) name(n *yaml.Node) {
	s, ok := p.Text(n, "drill")
	if ok && (!nameRule.MatchString(s) || len(s) > maxName) {
		p.Problem(n, "drill: bad name %s: lower-case letters, digits and dashes, at most %d", strictyaml.Quote(s), maxName)
	}
	p.sc.Name = s
}

// checkEnds finds faults that the load is too short for.
func (p *parser) checkEnds() {
	length := p.sc.complete().For
	for _, e := range p.ends {
		switch {
		case e.at > length:
			p.Problem(e.n, "the fault is over at %v, after the load, which lasts %v", e.at, length)
		case e.at == length && !e.lasts:
			p.Problem(e.n, "the fault is at %v, when the load is over", e.at)
		}
	}
}

// checkWanted finds invariants about calls that nobody makes.
func (p *parser) checkWanted() {
	var names []string
	for _, c := range p.sc.Load.Calls {
		names = append(names, c.Name)
	}
	for _, w := range p.wanted {
		if slices.Contains(names, w.call) {
			continue
		}
		hint := ""
		if near := strictyaml.Nearest(w.call, names); near != "" {
			hint = "; did you mean " + near + "?"
		}
		p.Problem(w.n, "the load has no call %s%s", strictyaml.Quote(w.call), hint)
	}
}

func (p *parser) random(n *yaml.Node) {
	r := &Random{}
	p.Mapping(n, "random", []strictyaml.Field{
		{Name: "every", Read: func(v *yaml.Node) { r.Every = p.duration(v, "every") }},
		{Name: "kinds", Read: func(v *yaml.Node) {
			known := make([]string, 0, len(drawable()))
			for _, k := range drawable() {
				known = append(known, string(k))
			}
			p.list(v, "kinds", len(inject.Kinds()), func(v *yaml.Node) {
				s, ok := p.Text(v, "kinds")
				switch {
				case !ok:
				case !slices.Contains(known, s):
					p.Problem(v, "kinds: %s cannot be drawn; want some of %s", strictyaml.Quote(s), strings.Join(known, ", "))
				default:
					r.Kinds = append(r.Kinds, inject.Kind(s))
				}
			})
		}},
		{Name: "spare", Read: func(v *yaml.Node) { r.Spare = p.texts(v, "spare") }},
	})
	p.sc.Random = r
}

func (p *parser) expect(n *yaml.Node) {
	e := &p.sc.Expect
	p.Mapping(n, "expect", []strictyaml.Field{
		{Name: "success", Read: func(v *yaml.Node) { e.Success = p.share(v, "success") }},
		{Name: "p50", Read: func(v *yaml.Node) { e.P50 = p.duration(v, "p50") }},
		{Name: "p99", Read: func(v *yaml.Node) { e.P99 = p.duration(v, "p99") }},
		{Name: "p99.9", Read: func(v *yaml.Node) { e.P999 = p.duration(v, "p99.9") }},
		{Name: "mask", Read: func(v *yaml.Node) { e.Mask = p.duration(v, "mask") }},
		{Name: "recover", Read: func(v *yaml.Node) { e.Recover = p.duration(v, "recover") }},
		{Name: "amplification", Read: func(v *yaml.Node) { e.Amplification = p.number(v, "amplification", 1, 1000) }},
	})
}
