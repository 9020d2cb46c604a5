// Command bugs shows that drills find what they are for: it puts a bug into the services of a small system, one after the
// other, drills it, and fails if the drill does not find the bug, by what it should find it by.
//
//	go run ./bench/bugs                  each bug has to be found
//	go run ./bench/bugs -without         and nothing may be found where there is none
//	go run ./bench/bugs -only fence,ack  these
//
// The reports are kept in a directory (-out): a page and a JSON file for each. It takes about five minutes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/report"
)

// bug is one that a build tag puts in, bug_NAME, and that the drill of the same name has to find.
type bug struct {
	name string
	what string
	// by are the promises and invariants that show it; one of them is enough.
	by []string
}

var bugs = []bug{
	{"retry", "a call that may not run twice is made again", []string{"sell happens once"}},
	{"fence", "what a lock is for takes writes of who has lost it", []string{"journal"}},
	{"stale", "a read that is called linearizable is not", []string{"registers"}},
	{"ack", "acknowledged before it is on a disk", []string{"sell is there", "sell happens once"}},
	{"drain", "an instance that stops does not finish what it has begun", []string{"success"}},
	{"register", "an instance that has lost its registration gives up", []string{"success"}},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bugs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bugs", flag.ContinueOnError)
	only := flags.String("only", "", "just these, separated by commas")
	without := flags.Bool("without", false, "also drill without a bug, when nothing may be found")
	dir := flags.String("out", filepath.Join(os.TempDir(), "holdfast-bugs"), "where the reports are kept")
	system := flags.String("system", "bench/bugs/till", "the system that is drilled")
	if err := flags.Parse(args); err != nil {
		return err //nolint:wrapcheck // flag has written it
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return fmt.Errorf("reports: %w", err)
	}
	holdfast := filepath.Join(*dir, "holdfast")
	build := exec.CommandContext(ctx, "go", "build", "-o", holdfast, "./cmd/holdfast")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build holdfast: %w", err)
	}
	d := driller{holdfast: holdfast, system: *system, dir: *dir}
	missed := 0
	for _, b := range bugs {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), b.name) {
			continue
		}
		for _, in := range []bool{false, true} {
			if !in && !*without {
				continue
			}
			said, ok := d.drill(ctx, b, in)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fmt.Fprintln(out, said)
			if !ok {
				missed++
			}
		}
	}
	fmt.Fprintf(out, "\nreports: %s\n", *dir)
	if missed > 0 {
		return fmt.Errorf("%d drills did not say what they should", missed)
	}
	return nil
}

// driller runs drills.
type driller struct{ holdfast, system, dir string }

// drill drills the system, with the bug in it or without, and reports whether the verdict is the right one.
func (d driller) drill(ctx context.Context, b bug, in bool) (said string, ok bool) {
	title, file, env := "without a bug", filepath.Join(d.dir, b.name+"-without"), os.Environ()
	if in {
		title, file = b.what, filepath.Join(d.dir, b.name)
		env = append(env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -tags=bug_"+b.name))
	}
	cmd := exec.CommandContext(ctx, d.holdfast, "drill", "--seed", "1", "--json", file+".json", "--html", file+".html", d.system, b.name)
	cmd.Env = env
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it mends what it has broken
	cmd.WaitDelay = time.Minute
	log, err := os.Create(file + ".log")
	if err != nil {
		return err.Error(), false
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	begun := time.Now()
	err = cmd.Run()
	code := cmd.ProcessState.ExitCode()
	took := time.Since(begun).Round(time.Second)
	if code < 0 || code > 1 {
		return fmt.Sprintf("%-8s  %s: could not be drilled (exit code %d, %v): %s.log", b.name, title, code, err, file), false
	}
	noticed, err := noticed(file+".json", b.name)
	if err != nil {
		return fmt.Sprintf("%-8s  %s: %v", b.name, title, err), false
	}
	by := slices.IndexFunc(noticed, func(n string) bool { return slices.Contains(b.by, n) })
	switch {
	case !in && code == 0:
		return fmt.Sprintf("%-8s  %s: nothing found, in %v", b.name, title, took), true
	case !in:
		return fmt.Sprintf("%-8s  %s: FOUND %s, in %v: %s.log", b.name, title, strings.Join(noticed, ", "), took, file), false
	case code == 0 || by < 0:
		return fmt.Sprintf("%-8s  %s: NOT FOUND by %s (but by: %s), in %v: %s.log", b.name, title, strings.Join(b.by, ", "), strings.Join(noticed, ", "), took, file), false
	}
	return fmt.Sprintf("%-8s  %s: found by %s, in %v", b.name, title, noticed[by], took), true
}

// noticed are the promises that were not kept and the invariants that are broken, in a report.
func noticed(path, drill string) (names []string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	var all struct {
		Drills []report.Report `json:"drills"`
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("report %s: %w", path, err)
	}
	for _, r := range all.Drills {
		if r.Drill != drill {
			continue
		}
		for _, e := range r.Expectations {
			if !e.Kept && e.Unknown == "" {
				names = append(names, e.Name)
			}
		}
		for _, v := range r.Invariants {
			if v.Answer == check.Broken {
				names = append(names, v.Name)
			}
		}
		return names, nil
	}
	return nil, fmt.Errorf("report %s: no drill %s in it", path, drill)
}
