//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/drill"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/platform/system"
)

// drillOptions are the flags of drill.
type drillOptions struct {
	all, random       bool
	seed              uint64
	length, every     time.Duration
	tries             int
	json, junit, html string
	up                upOptions
}

func (a *app) drillCommand() *cobra.Command {
	var opts drillOptions
	cmd := &cobra.Command{
		Use:   "drill [flags] [SYSTEM [NAME...]]",
		Short: "Break a system on purpose, and say whether anybody noticed",
		Long: `Offers a system load, breaks it meanwhile, and says with numbers whether its users would have noticed: how many calls
failed and why, for how long, what became of p99, and whether what has to hold held. What is broken is mended at the end,
whatever happens.

SYSTEM is a directory with a system.yaml, or such a file (default: this directory). If it runs at the control address, it
is drilled as it is; otherwise it is started for this, with data of its own, and stopped afterwards.

NAME is a drill: a file in SYSTEM/drills, or one of the standard set, which every system has. "drill list" lists them. Without
a NAME it is quick: a minute with one of each. With --random faults are drawn from a seed; with a NAME, too, the load and
what is expected are those of that drill.

Exit codes: 0 nobody noticed, 1 users noticed, 2 it could not be run or judged.`,
		Example: `  holdfast drill examples/shop                                a minute with one of each
  holdfast drill examples/shop kill-each                      one drill
  holdfast drill --random --for 10m examples/shop             whatever comes, for ten minutes
  holdfast drill --random --seed 7 --for 10m examples/shop    the same again
  holdfast drill --all --html drills.html examples/shop       everything, with a page about it
  holdfast drill list examples/shop                           which drills there are`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("seed") {
				opts.seed = uint64(rand.Uint32N(1_000_000)) //nolint:gosec // any will do, and a short one is typed again more easily
			}
			return a.drill(cmd.Context(), args, opts)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&opts.all, "all", false, "every drill: the system's own and the standard set")
	f.BoolVar(&opts.random, "random", false, "faults that are drawn from the seed, instead of those of NAME")
	f.Uint64Var(&opts.seed, "seed", 0, "`N` that everything is drawn from; the same one does the same again (default: another one each time)")
	f.DurationVar(&opts.length, "for", 0, "`TIME` that load is offered (default: what the drill says)")
	f.IntVar(&opts.tries, "tries", 1, "make a drill up to `N` times while there is no verdict for this machine's doing (it stood still, or its host took the processors)")
	f.DurationVar(&opts.every, "every", 0, "mean `TIME` between random faults (default 3s)")
	f.StringVar(&opts.html, "html", "", "write the report to `FILE` as a page that needs nothing else")
	f.StringVar(&opts.json, "json", "", "write the report to `FILE` as JSON; - is standard output, and nothing else goes there")
	f.StringVar(&opts.junit, "junit", "", "write the report to `FILE` as JUnit XML; - as for --json")
	f.StringVar(&opts.up.data, "data", "", "`DIR` for what the system keeps, if it is started (default: one that is deleted afterwards)")
	f.StringVar(&opts.up.queue, "queue", "", "`URL` of an engine for messages, if it is started; see up")
	f.BoolVar(&opts.up.noBuild, "no-build", false, "take the programs that are in --data, if it is started")
	f.BoolVar(&opts.up.netns, "netns", false, "give each instance a network namespace, if it is started; see up")
	f.BoolVar(&opts.up.clock, "clock", false, "build the services so that their clocks can be moved, if it is started; see up")
	cmd.AddCommand(a.drillListCommand(), a.drillInitCommand())
	for _, sub := range cmd.Commands() {
		sub.DisableFlagsInUseLine = true
	}
	return cmd
}

// drill runs the drills that are named.
func (a *app) drill(ctx context.Context, args []string, opts drillOptions) error {
	path, names := ".", []string(nil)
	if len(args) > 0 {
		path, names = args[0], args[1:]
	}
	sys, err := system.Load(path)
	if err != nil {
		return couldNot(explainLoad(path, err))
	}
	set, err := drillsOf(sys)
	if err != nil {
		return couldNot(err)
	}
	chosen, err := set.choose(names, opts)
	if err != nil {
		return couldNot(err)
	}
	out, err := a.openReports(opts)
	if err != nil {
		return couldNot(err)
	}
	defer out.close()
	view := a.newDrillView(out.quiet())
	guard, err := a.startDrillGuard()
	if err != nil {
		return couldNot(err)
	}
	defer guard.close()
	stop, err := a.startForDrill(ctx, sys, path, opts.up, guard, view)
	if err != nil {
		return couldNot(err)
	}
	reports := a.runDrills(ctx, chosen, path, opts, guard, view)
	err = stop()
	if errors.Is(err, errStillUp) {
		view.line(err.Error())
		err = nil
	}
	if err := errors.Join(err, out.write(reports)); err != nil {
		return couldNot(err)
	}
	if len(reports) > 1 {
		view.summary(reports)
	}
	if verdict := report.Worst(reports...); verdict != report.NobodyNoticed {
		return &verdictError{verdict}
	}
	return couldNot(a.lostOutput()) // what nobody could read says nothing about users
}

// runDrills runs one after the other. Those that were not begun when ctx was done could not be run.
func (a *app) runDrills(ctx context.Context, chosen []*drill.Scenario, path string, opts drillOptions, guard *drillGuard, view *drillView) (reports []*report.Report) {
	c := a.client()
	defer c.Close()
	conns := &drillConns{ctx: ctx, control: c}
	defer conns.close()
	for _, sc := range chosen {
		if ctx.Err() != nil {
			reports = append(reports, &report.Report{
				Drill: sc.Name, About: sc.About, Seed: opts.seed, Command: a.drillAgain(sc, path, opts), Version: version(),
				CouldNot: "interrupted before it was begun",
			})
			continue
		}
		r := asOften(ctx, opts.tries, func() *report.Report {
			view.begin(sc, opts.seed)
			r := drill.Run(ctx, sc, drill.Config{
				Control: c, Addr: a.control, Seed: opts.seed, Command: a.drillAgain(sc, path, opts), Version: version(),
				Progress: view.progress, Guard: guard.guard, GRPC: conns.dial,
			})
			view.end(r)
			return r
		}, func(try int) {
			view.line(fmt.Sprintf("%s could not be judged for this machine's doing: once more (%d of %d), when it is quiet", sc.Name, try, opts.tries))
			drill.AwaitProcessors(ctx, forQuiet)
		})
		reports = append(reports, r)
	}
	return reports
}

// forQuiet is how long a drill that is made again waits for the machine's host.
const forQuiet = 3 * time.Minute

// asOften runs a drill up to so many times, while it cannot be judged for this machine's doing alone, and returns the last
// report: what the users noticed is never tried again. Before each further try it says which one that is.
func asOften(ctx context.Context, tries int, run func() *report.Report, again func(try int)) *report.Report {
	for try := 1; ; try++ {
		r := run()
		if try >= tries || !r.Disturbed() || ctx.Err() != nil {
			return r
		}
		again(try + 1)
	}
}

// drillAgain is the command that does the same again.
func (a *app) drillAgain(sc *drill.Scenario, path string, opts drillOptions) string {
	words := []string{"drill"}
	if opts.random {
		words = append(words, "--random")
	}
	words = append(words, fmt.Sprintf("--seed %d", opts.seed))
	if opts.length > 0 {
		words = append(words, "--for "+opts.length.String())
	}
	if opts.every > 0 {
		words = append(words, "--every "+opts.every.String())
	}
	if opts.up.netns {
		words = append(words, "--netns")
	}
	if opts.up.clock {
		words = append(words, "--clock")
	}
	if opts.up.queue != "" {
		words = append(words, "--queue "+withoutPassword(opts.up.queue))
	}
	words = append(words, path)
	if !opts.random || sc.Name != randomName {
		words = append(words, sc.Name)
	}
	return a.command(strings.Join(words, " "))
}

// verdictError ends the program with the verdict's exit code. All has been said.
type verdictError struct{ verdict report.Verdict }

func (v *verdictError) Error() string { return v.verdict.String() }

// couldNotError is why no drill was run.
type couldNotError struct{ err error }

func (c *couldNotError) Error() string { return c.err.Error() }
func (c *couldNotError) Unwrap() error { return c.err }

func couldNot(err error) error {
	if err == nil {
		return nil
	}
	return &couldNotError{err}
}

func (a *app) drillListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list [SYSTEM]",
		Short: "List the drills of a system",
		Long: `Lists the drills in SYSTEM/drills and the standard set, which every system has, as far as it can be expected to stand it. What is
left out is said with its reason.`,
		Example: `  holdfast drill list examples/shop`,
		Args:    atMost(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := "."
			if len(args) == 1 {
				path = args[0]
			}
			sys, err := system.Load(path)
			if err != nil {
				return explainLoad(path, err)
			}
			set, err := drillsOf(sys)
			if err != nil {
				return err
			}
			a.printDrills(set)
			return nil
		},
	}
}

func (a *app) printDrills(set drillSet) {
	section := func(title string, drills []*drill.Scenario) {
		if len(drills) == 0 {
			return
		}
		a.printf("%s", a.out.Paint(terminal.Bold, title))
		rows := make([][]string, 0, len(drills))
		for _, sc := range drills {
			rows = append(rows, []string{"  " + sc.Name, inject.Span(sc.Length().Round(time.Second)), terminal.Clean(sc.About)})
		}
		for _, line := range table(rows) {
			a.printf("%s", line)
		}
	}
	section("the system's own", set.own)
	section("the standard set", set.standard)
	if len(set.leftOut) > 0 {
		a.printf("%s", a.out.Paint(terminal.Bold, "left out"))
		for _, line := range set.leftOut {
			a.printf("  %s", line)
		}
	}
}

// withoutPassword is a URL as it may be shown.
func withoutPassword(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "URL"
	}
	return u.Redacted()
}
