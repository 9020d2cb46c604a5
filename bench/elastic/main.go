// Command elastic shows that a service follows its load: four times as many calls within ten seconds, and more instances of the
// gateway of the shop before users have noticed much; hardly any calls, and the instances go again, one way up and one way down.
//
//	go run ./bench/elastic                      # about two minutes; a page about it: -html elastic.html
//	go run ./bench/elastic -report report.json  # judges the drill that is in a file
//
// It runs the drill examples/shop/elastic rush and judges what came of it: no call failed; p99 is back below its goal 20 s after
// the load has begun to grow at the latest; in the end there are as many instances as in the beginning; and the number did not go
// up and down and up again. It ends with 1 when one of these is not kept.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// rises is when the load of the drill begins to grow, and falls when it begins to go.
	rises, falls = 10 * time.Second, 45 * time.Second
	// within is how long p99 may be above its goal after that.
	within = 20 * time.Second
	// outliers is the share of slices that may be above the goal all the same: a slice of a quarter of a second has a few calls, and
	// its p99 is the slowest of them.
	outliers = 0.05
)

func main() {
	var c config
	flag.StringVar(&c.system, "system", "examples/shop/elastic", "directory of the system")
	flag.StringVar(&c.service, "service", "gateway", "service that is scaled")
	flag.DurationVar(&c.goal, "goal", 300*time.Millisecond, "goal for p99")
	flag.StringVar(&c.report, "report", "", "JSON report of a drill to be judged instead of a new one")
	flag.StringVar(&c.html, "html", "", "file for the page about the drill")
	flag.StringVar(&c.holdfast, "holdfast", "go run ./cmd/holdfast", "how to call holdfast")
	flag.Parse()
	if err := run(c, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "elastic:", err)
		os.Exit(1)
	}
}

type config struct {
	system, service, report, html, holdfast string
	goal                                    time.Duration
}

func run(c config, out io.Writer) error {
	file := c.report
	if file == "" {
		dir, err := os.MkdirTemp("", "elastic-*")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }() // it is temporary anyway
		file = filepath.Join(dir, "report.json")
		words := append(strings.Fields(c.holdfast), "drill", "--json", file)
		if c.html != "" {
			words = append(words, "--html", c.html)
		}
		cmd := exec.Command(words[0], append(words[1:], c.system, "rush")...)
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "elastic: the drill:", err) // what it did not keep is judged below, too
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var all struct{ Drills []drill }
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	if len(all.Drills) != 1 {
		return fmt.Errorf("%d drills in the report, want one", len(all.Drills))
	}
	d := all.Drills[0]
	d.print(out, c.service)
	return errors.Join(d.judge(c.service, c.goal)...)
}

// drill is what is needed of a report.
type drill struct {
	Length    time.Duration
	Figures   struct{ Calls, OK, Failed int }
	Timeline  []slice
	Instances []struct {
		ID     string
		Phases []phase
	}
}

type slice struct {
	From       time.Duration
	OK, Failed int
	P99        time.Duration
}

type phase struct {
	From  time.Duration
	State string
}

// count is how many instances of a service are ready from a time on.
type count struct {
	from time.Duration
	n    int
}

// counts returns how the number of instances that serve changed.
func (d drill) counts(service string) []count {
	type change struct {
		at time.Duration
		by int
	}
	var changes []change
	for _, i := range d.Instances {
		if !strings.HasPrefix(i.ID, service+"-") {
			continue
		}
		ready := false
		for _, p := range i.Phases {
			if is := p.State == "ready"; is != ready {
				by := 1
				if !is {
					by = -1
				}
				changes = append(changes, change{p.From, by})
				ready = is
			}
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	var out []count
	n := 0
	for _, c := range changes {
		n += c.by
		if len(out) > 0 && c.at-out[len(out)-1].from < 500*time.Millisecond { // of one step
			out[len(out)-1].n = n
			continue
		}
		out = append(out, count{c.at, n})
	}
	return out
}

func at(counts []count, t time.Duration) (n int) {
	for _, c := range counts {
		if c.from <= t {
			n = c.n
		}
	}
	return n
}

// print shows the drill in pieces of two and a half seconds.
func (d drill) print(out io.Writer, service string) {
	const piece = 2500 * time.Millisecond
	counts := d.counts(service)
	fmt.Fprintf(out, "   time  calls/s  failed  p99 (median of slices)  %s\n", service)
	for from := time.Duration(0); from < d.Length-piece/2; from += piece {
		calls, failed := 0, 0
		var p99 []time.Duration
		for _, s := range d.Timeline {
			if s.From >= from && s.From < from+piece {
				calls += s.OK + s.Failed
				failed += s.Failed
				if s.OK > 0 {
					p99 = append(p99, s.P99)
				}
			}
		}
		slices.Sort(p99)
		median := time.Duration(0)
		if len(p99) > 0 {
			median = p99[len(p99)/2]
		}
		n := at(counts, from+piece/2)
		fmt.Fprintf(out, "%6.1fs  %7.0f  %6d  %22s  %s %d\n", from.Seconds(), float64(calls)/piece.Seconds(), failed, median.Round(time.Millisecond),
			strings.Repeat("█", n), n)
	}
}

// judge returns what was not kept.
func (d drill) judge(service string, goal time.Duration) (broken []error) {
	promise := func(kept bool, format string, args ...any) {
		if !kept {
			broken = append(broken, fmt.Errorf(format, args...))
		}
	}
	promise(d.Figures.Failed == 0 && d.Figures.Calls > 0, "%d of %d calls failed", d.Figures.Failed, d.Figures.Calls)

	above, slicesThen := 0, 0
	for _, s := range d.Timeline {
		if s.From >= rises+within && s.From < falls && s.OK > 0 {
			slicesThen++
			if s.P99 > goal {
				above++
			}
		}
	}
	promise(slicesThen > 0 && float64(above) <= outliers*float64(slicesThen),
		"p99 was above %s in %d of the %d slices from %s on, %s after the load began to grow", goal, above, slicesThen, rises+within, within)

	counts := d.counts(service)
	begun, ended, most := at(counts, rises), at(counts, d.Length), 0
	turns, up := 0, true
	for i, c := range counts {
		most = max(most, c.n)
		if i > 0 && c.from > rises && (c.n > counts[i-1].n) != up {
			turns++
			up = !up
		}
	}
	promise(most > begun, "there were never more than %d instances of %s", most, service)
	promise(begun == ended, "%d instances of %s in the end, %d in the beginning", ended, service, begun)
	promise(turns <= 1, "the number of instances of %s changed its direction %d times", service, turns)
	return broken
}
