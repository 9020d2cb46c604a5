package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"
)

const (
	restartCommands = 350_000
	restartMost     = time.Second
)

// restart kills all members with no snapshot taken and starts them again: how long until each serves with what its log
// has, and until the first write. What is promised is of a member that is started by itself, as on a machine of its own;
// then all three are started on the processors of one.
func restart(ctx context.Context, s settings, out io.Writer) error {
	commands := restartCommands
	if s.short {
		commands = 2000
	}
	c, err := startCluster(ctx, holdfast, filepath.Join(s.dir, "restart"), func(spec *Spec) {
		spec.Election, spec.SnapshotEntries, spec.SnapshotBytes, spec.Profile = s.election, 1<<40, 1<<50, s.profile
	})
	if err != nil {
		return err
	}
	defer c.close()
	if err := writeMany(ctx, c, commands, value); err != nil {
		return err
	}
	applied := make([]uint64, members)
	for i := range c.conns {
		st, err := c.member(i).status(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", c.processes[i].spec.Name, err)
		}
		applied[i] = st.GetApplied()
	}
	disk, err := sizeOf(c.processes[0].spec.Dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d commands in the log (%d entries), no snapshot, %s on disk; all members killed; election %v\n",
		commands, applied[0], mebibytes(disk), s.election)
	kept := true
	for _, p := range c.processes {
		p.kill()
	}
	for _, p := range c.processes {
		begun := time.Now()
		if err := p.restart(ctx); err != nil {
			return err
		}
		took := time.Since(begun)
		fmt.Fprintf(out, "  %s, started alone: has read its log and serves after %.3f s\n", p.spec.Name, took.Seconds())
		kept = kept && took <= restartMost
		p.kill()
	}
	if err := restartAll(ctx, c, applied, out); err != nil {
		return err
	}
	if s.profile != "" {
		c.terminate()
	}
	if s.timeline {
		for _, p := range c.processes {
			fmt.Fprintf(out, "%s said:\n%s\n", p.spec.Name, p.said.String())
		}
	}
	if s.short {
		return nil
	}
	fmt.Fprintf(out, "promised: the log is read within %v, before the election: %s\n", restartMost, map[bool]string{true: "kept", false: "NOT KEPT"}[kept])
	if !kept {
		return errBroken
	}
	return nil
}

// restartAll starts all members at once, and says when each serves, when one leads, and when each has applied its log.
func restartAll(ctx context.Context, c *cluster, applied []uint64, out io.Writer) error {
	begun := time.Now()
	served, led, replayed := make([]time.Duration, members), make([]time.Duration, members), make([]time.Duration, members)
	errs := make([]error, members)
	var wg sync.WaitGroup
	for i, p := range c.processes {
		wg.Go(func() {
			if errs[i] = p.restart(ctx); errs[i] != nil {
				return
			}
			served[i] = time.Since(begun)
			for time.Since(begun) < time.Minute && ctx.Err() == nil {
				st, err := c.member(i).status(ctx)
				if err == nil && st.GetLeads() && led[i] == 0 {
					led[i] = time.Since(begun)
				}
				if err == nil && st.GetApplied() >= applied[i] {
					replayed[i] = time.Since(begun)
					return
				}
				pause(ctx, 2*time.Millisecond)
			}
			errs[i] = fmt.Errorf("%s has not replayed its log in a minute; it said: %s", p.spec.Name, p.said.String())
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := c.awaitAll(ctx); err != nil {
		return err
	}
	first := time.Since(begun)
	for i, p := range c.processes {
		fmt.Fprintf(out, "  %s, all at once: serves after %.3f s, ", p.spec.Name, served[i].Seconds())
		if led[i] > 0 {
			fmt.Fprintf(out, "leads after %.3f s, ", led[i].Seconds())
		}
		fmt.Fprintf(out, "has applied its log after %.3f s\n", replayed[i].Seconds())
	}
	fmt.Fprintf(out, "  all members have answered a write and a read after %.3f s\n", first.Seconds())
	return nil
}
