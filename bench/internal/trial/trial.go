// Package trial is the frame of the programs under bench/ that show what is promised: it runs one with several seeds,
// prints what was promised beside what was measured, and ends with an exit code that says whether the two agree.
package trial

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/load"
)

// ErrBroken is returned by Execute when a promise was not kept.
var ErrBroken = errors.New("a promise was not kept")

// Trial is one program.
type Trial struct {
	// Name is that of the program, and About one sentence that says what is done.
	Name, About string
	// Cases are what can be chosen with -only, in their order. Choose is another name of that flag, if not "".
	Cases  []string
	Choose string
	// Flags registers flags of the program's own, if it has any.
	Flags func(*flag.FlagSet)
	// Run runs one case with one seed. An error is of the program and ends it; what was promised goes to r.
	Run func(ctx context.Context, r *Run) error
}

// Run is one run of one case.
type Run struct {
	Case string
	Seed uint64
	// Short asks for a few seconds that only show that the program works. Nothing is judged then.
	Short bool
	// Timeline is where to print what happened each second, or nil.
	Timeline io.Writer
	// Log is for what may be of interest while one waits.
	Log io.Writer

	report *Report
}

// Long returns full, or short in a short run.
func (r *Run) Long(full, short time.Duration) time.Duration {
	if r.Short {
		return short
	}
	return full
}

// Add reports a figure and what is promised of it.
func (r *Run) Add(name string, value float64, unit Unit, p Promise) {
	r.report.add(r.Case, name, value, unit, p)
}

// busy is how late a call may be begun before the machine is to blame for what is measured.
const busy = 50 * time.Millisecond

// Calls takes the calls of the run, of which Timeline prints what happened, and says if this machine was too busy for them.
func (r *Run) Calls(calls load.Calls) {
	if r.Timeline != nil {
		calls.Timeline(r.Timeline)
	}
	if late := calls.Late(); late > busy {
		fmt.Fprintf(r.Log, "this machine was busy with other things: a call began %v late\n", late.Round(time.Millisecond))
	}
}

// Main runs a trial as the program that it is, and does not return. Ctrl-C ends it.
func Main(t Trial) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := Execute(ctx, t, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil:
		os.Exit(0)
	case errors.Is(err, ErrBroken):
		os.Exit(1)
	case !errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(os.Stderr, "%s: %v\n", t.Name, err)
	}
	os.Exit(2)
}

// Execute runs a trial with these arguments. The error is ErrBroken if a promise was not kept.
func Execute(ctx context.Context, t Trial, args []string, out io.Writer) error {
	o, err := parse(t, args)
	if err != nil {
		return err
	}
	var report Report
	begun := time.Now()
	for _, name := range o.cases {
		for _, seed := range o.seeds {
			r := &Run{Case: name, Seed: seed, Short: o.short, Log: io.Discard, report: &report}
			if !o.json {
				r.Log = out
			}
			if o.timeline && !o.json {
				r.Timeline = out
			}
			fmt.Fprintf(r.Log, "%s, seed %d …\n", name, seed)
			if err := t.Run(ctx, r); err != nil {
				return fmt.Errorf("%s, seed %d: %w", name, seed, err)
			}
			if ctx.Err() != nil {
				return fmt.Errorf("%s, seed %d: %w", name, seed, context.Cause(ctx))
			}
		}
	}
	if o.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(report.lines(!o.short)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	} else {
		fmt.Fprintf(out, "\n%s\n%s %s/%s, GOMAXPROCS %d, %d seeds, medians unless it says worst, %v\n\n", t.About,
			runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), len(o.seeds), time.Since(begun).Round(time.Second))
		if err := report.print(out, !o.short); err != nil {
			return err
		}
	}
	if !o.short && report.broken() {
		return ErrBroken
	}
	return nil
}

type options struct {
	cases    []string
	seeds    []uint64
	short    bool
	json     bool
	timeline bool
}

func parse(t Trial, args []string) (options, error) {
	var o options
	var seeds, only string
	choose := cmp.Or(t.Choose, "only")
	flags := flag.NewFlagSet(t.Name, flag.ContinueOnError)
	flags.StringVar(&seeds, "seeds", "1,2,3", "seeds, separated by commas")
	flags.StringVar(&only, choose, strings.Join(t.Cases, ","), "cases, separated by commas")
	flags.BoolVar(&o.short, "short", false, "only show that it works: one seed, a few seconds, nothing is judged")
	flags.BoolVar(&o.json, "json", false, "print the figures as JSON")
	flags.BoolVar(&o.timeline, "timeline", false, "print what happened in each second, too")
	if t.Flags != nil {
		t.Flags(flags)
	}
	if err := flags.Parse(args); err != nil {
		return o, err //nolint:wrapcheck // flag has written it
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q: no such argument", flags.Arg(0))
	}
	for word := range strings.SplitSeq(seeds, ",") {
		seed, err := strconv.ParseUint(strings.TrimSpace(word), 10, 64)
		if err != nil {
			return o, fmt.Errorf("-seeds %s: %q is no number", seeds, word)
		}
		o.seeds = append(o.seeds, seed)
	}
	if o.short {
		o.seeds = o.seeds[:1]
	}
	for word := range strings.SplitSeq(only, ",") {
		name := strings.TrimSpace(word)
		if !slices.Contains(t.Cases, name) {
			return o, fmt.Errorf("-%s %s: %q is none of %s", choose, only, name, strings.Join(t.Cases, ", "))
		}
		o.cases = append(o.cases, name)
	}
	return o, nil
}
