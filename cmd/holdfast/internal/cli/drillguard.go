//go:build unix

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/platform/control"
)

// drillGuard is a process that undoes what no lease does, if this one is killed: what commands and requests of a drill have
// done, and that a system was started for it.
type drillGuard struct {
	cmd   *exec.Cmd
	mu    sync.Mutex // guards what follows
	pipe  io.WriteCloser
	enc   *json.Encoder
	count int
}

// guardMessage is a line to the guard: something to undo, that it has been undone, or what to stop at the end.
type guardMessage struct {
	ID   int            `json:"id,omitempty"`
	Undo *inject.Undo   `json:"undo,omitempty"`
	Done bool           `json:"done,omitempty"`
	Down *guardedSystem `json:"down,omitempty"`
}

// guardedSystem is a system that was started for the drill.
type guardedSystem struct {
	PID  int    `json:"pid"`
	Addr string `json:"addr"`
	Dir  string `json:"dir,omitempty"` // of its data, if it was made for the drill
}

func (a *app) startDrillGuard() (*drillGuard, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, to guard the drill: %w", err)
	}
	cmd := exec.Command(self, append(append([]string{}, a.SelfArgs...), "drill-guard")...)
	cmd.Env = a.Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // neither Ctrl-C nor the end of the terminal is for it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("guard the drill: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("guard the drill: %w", err)
	}
	return &drillGuard{cmd: cmd, pipe: pipe, enc: json.NewEncoder(pipe)}, nil
}

// guard is told of something that has to be undone.
func (g *drillGuard) guard(u inject.Undo) (undone func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count++
	id := g.count
	if err := g.enc.Encode(guardMessage{ID: id, Undo: &u}); err != nil {
		return nil, fmt.Errorf("the guard of the drill is gone: %w", err)
	}
	return func() { g.send(guardMessage{ID: id, Done: true}) }, nil
}

// down is told that a system is started, or has been: by which process, with which control address, and where its data is if
// that goes with the drill. The zero value is that it has been stopped.
func (g *drillGuard) down(s guardedSystem) { g.send(guardMessage{Down: &s}) }

func (g *drillGuard) send(m guardMessage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.enc.Encode(m) // a guard that is gone guards nothing
}

// close lets the guard go, and waits until it has undone what is left.
func (g *drillGuard) close() {
	g.mu.Lock()
	_ = g.pipe.Close()
	g.mu.Unlock()
	_ = g.cmd.Wait()
}

// drillGuardCommand is that process.
func (a *app) drillGuardCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "drill-guard",
		Hidden:  true,
		Short:   "Undo what a drill that was killed has left (drill does)",
		Example: "  holdfast drill-guard < PIPE",
		Args:    atMost(0),
		RunE:    func(*cobra.Command, []string) error { return guardDrill(a.In, a.Environ(), undoTime) },
	}
}

// undoTime is how long the guard gives each thing that it undoes, and the system to stop: what hangs holds up nothing else.
const undoTime = time.Minute

// guardDrill reads until the drill has ended, and undoes what it has not, each within limit.
func guardDrill(r io.Reader, env []string, limit time.Duration) error {
	open := make(map[int]inject.Undo)
	var order []int
	var system guardedSystem
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), 1<<20)
	for lines.Scan() {
		var m guardMessage
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			continue // cut off in the middle, as by kill -9
		}
		switch {
		case m.Down != nil:
			system = *m.Down
		case m.Done:
			delete(open, m.ID)
		case m.Undo != nil:
			open[m.ID] = *m.Undo
			order = append(order, m.ID)
		}
	}
	for i := len(order) - 1; i >= 0; i-- { // the last is undone first
		if u, ok := open[order[i]]; ok {
			undo(u, env, limit)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	stopGuarded(ctx, system)
	return nil
}

// undo does what it can: nobody is left whom an error could be told.
func undo(u inject.Undo, env []string, limit time.Duration) {
	within := func(do func(ctx context.Context) error) {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		_ = do(ctx)
	}
	if u.Run != "" {
		within(func(ctx context.Context) error {
			return inject.RunCommand(ctx, u.Run, u.Dir, slices.Concat(env, u.Env))
		})
	}
	if u.Request != nil {
		for _, base := range u.Requests {
			within(func(ctx context.Context) error { return u.Request.Send(ctx, base) })
		}
	}
}

// stopGuarded stops the system that was started for the drill, and takes its data away once nobody writes there any more.
func stopGuarded(ctx context.Context, system guardedSystem) {
	if system.PID != 0 {
		c := control.NewClient(system.Addr)
		defer c.Close()
		if !endGuarded(ctx, c, system.PID) {
			return // it still has its data
		}
	}
	if system.Dir != "" {
		_ = os.RemoveAll(system.Dir) // nobody is left whom its error could be told
	}
}

// guardedSilence is how long a system may not listen until it has ended, by all appearances: one that was started a moment ago listens
// within that.
const guardedSilence = 15 * time.Second

// endGuarded asks a system to stop, as soon as it listens, and reports whether its process has ended. One that nobody has waited for
// keeps its number: it has ended if it does not listen any more.
func endGuarded(ctx context.Context, c *control.Client, pid int) bool {
	heard, asked := time.Now(), false
	for syscall.Kill(pid, 0) == nil {
		info, err := c.System(ctx)
		switch {
		case ctx.Err() != nil:
			return false
		case errors.Is(err, control.ErrNotRunning), err == nil && info.PID != pid: // or it is another one's address
			if time.Since(heard) > guardedSilence {
				return true
			}
		default:
			heard = time.Now()
			if err == nil && !asked {
				asked = c.Down(ctx) == nil
			}
		}
		backoff.Pause(ctx, 100*time.Millisecond)
	}
	return true
}
