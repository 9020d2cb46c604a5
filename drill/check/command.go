package check

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
)

// Command runs a command by sh -c when the load is over: exit code 0 holds, and the first line that it says is what it looked
// at; 1 is broken, with a finding on each line of its standard output; anything else is unknown, for the reason that is the last
// line of its standard error, as is 1 without a finding: it is also what a shell, or go run, makes of a program that could not
// be started, or could not tell.
// HOLDFAST_DRILL_RECORD is a file with the samples, a line of JSON each ([load.Sample]).
type Command struct {
	Run     string
	Timeout time.Duration // 0 is 2 min
}

const (
	defaultCommandTime = 2 * time.Minute
	maxOutput          = 1 << 20 // bytes that are read of what a command says
	lastWords          = 8 << 10 // bytes of what it says on its standard error
)

type command struct {
	named
	passive
	cfg Command
}

func (c *command) Prepare(context.Context, *World) error {
	if strings.TrimSpace(c.cfg.Run) == "" {
		return invalid("it runs nothing")
	}
	return nil
}

func (c *command) Judge(ctx context.Context, w *World) Verdict {
	v := Verdict{Name: c.Name(), Answer: Unknown}
	file, err := record(w.Record)
	if err != nil {
		v.Says = line(fmt.Sprintf("the record could not be written: %v", err), maxFinding)
		return v
	}
	defer os.Remove(file) //nolint:errcheck // it is in the directory for what is temporary
	limit := orDefault(c.cfg.Timeout, defaultCommandTime)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %v", limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", c.cfg.Run) //nolint:gosec // running what the drill says is what it is for
	cmd.Dir = w.Dir
	cmd.Env = append(append(os.Environ(), w.Env...), "HOLDFAST_DRILL_RECORD="+file)
	cmd.WaitDelay = time.Second // a child of it that holds the pipes
	out, words := &head{max: maxOutput}, &tail{max: lastWords}
	cmd.Stdout, cmd.Stderr = out, words
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		v.Says = line(context.Cause(ctx).Error(), maxFinding)
	case err == nil:
		v.Answer, v.Says = Holds, orText(firstLine(out.Bytes()), "it says yes")
	case errors.As(err, &exit) && exit.ExitCode() == 1 && firstLine(out.Bytes()) != "":
		v.broken(out.Bytes())
	default:
		v.Says = line(err.Error(), maxFinding)
		if why := lastLine(words.Bytes()); why != "" {
			v.Says = line(v.Says+": "+why, maxFinding)
		}
	}
	return v
}

// broken puts what a command found into its verdict.
func (v *Verdict) broken(out []byte) {
	v.Answer = Broken
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, maxOutput+1)
	for lines.Scan() {
		text := line(lines.Text(), maxFinding)
		switch {
		case text == "":
		case len(v.Findings) < MaxFindings:
			v.Findings = append(v.Findings, text)
		default:
			v.More++
		}
	}
	v.Says = fmt.Sprintf("it says no, with %s", count(len(v.Findings)+v.More, "finding", "findings"))
}

func firstLine(out []byte) string {
	first, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return line(string(first), maxFinding)
}

// lastLine is what a program that gave up said last, after all its warnings: that is mostly why. What go run adds, and the
// stacks below a panic, say less.
func lastLine(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	last := ""
	for _, l := range slices.Backward(lines) {
		text := line(string(l), maxFinding)
		if strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
			return text
		}
		if last == "" && !strings.HasPrefix(text, "exit status ") {
			last = text
		}
	}
	return last
}

// record writes the samples to a file of its own.
func record(r *load.Recorder) (name string, err error) {
	f, err := os.CreateTemp("", "holdfast-drill-*.jsonl")
	if err != nil {
		return "", err
	}
	if err := errors.Join(r.Write(f), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// head keeps the beginning of what is written to it.
type head struct {
	bytes.Buffer

	max int
}

func (h *head) Write(p []byte) (int, error) {
	_, err := h.Buffer.Write(p[:min(len(p), max(0, h.max-h.Len()))])
	return len(p), err
}

// tail keeps the end of what is written to it, of max bytes or a little more.
type tail struct {
	kept []byte
	max  int
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-t.max):]...)
	if len(t.kept) > 2*t.max {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-t.max:]...)
	}
	return len(p), nil
}

// Bytes returns what is kept.
func (t *tail) Bytes() []byte { return t.kept[max(0, len(t.kept)-t.max):] }
