package inject

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// maxOutput is how much of what a command says is kept, for its error.
const maxOutput = 2 << 10

// command runs the user's command, and the one that undoes it at the end.
func (a *Applier) command(ctx context.Context, r Resolved) (func(context.Context) error, error) {
	undone, err := a.guard(ctx, r)
	if err != nil {
		return nil, err
	}
	end := func(ctx context.Context) error {
		if r.Undo == "" {
			return nil
		}
		err := RunCommand(ctx, r.Undo, a.Dir, a.Env)
		if err == nil {
			undone()
		}
		return err
	}
	if err := RunCommand(ctx, r.Run, a.Dir, a.Env); err != nil {
		return nil, errors.Join(err, end(context.WithoutCancel(ctx)))
	}
	return end, nil
}

// RunCommand runs a line of shell, for a minute at most. The error has the end of what it said.
func RunCommand(ctx context.Context, line, dir string, env []string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line) //nolint:gosec // running what the scenario says is what it is for
	cmd.Dir, cmd.Env = dir, env
	cmd.WaitDelay = time.Second // a child of it that holds the pipe
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(string(said)); text != "" {
			return fmt.Errorf("%s: %w: %s", cut(line), err, text)
		}
		return fmt.Errorf("%s: %w", cut(line), err)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if over := len(*t) - maxOutput; over > 0 {
		*t = append((*t)[:0], (*t)[over:]...)
	}
	return len(p), nil
}
