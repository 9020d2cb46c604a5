package main

import (
	"context"
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
// has, and until the first write.
func restart(ctx context.Context, s settings, out io.Writer) error {
	commands := restartCommands
	if s.short {
		commands = 2000
	}
	c, err := startCluster(ctx, holdfast, filepath.Join(s.dir, "restart"), func(spec *Spec) {
		spec.Election, spec.SnapshotEntries, spec.SnapshotBytes = s.election, 1<<40, 1<<50
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
	for _, p := range c.processes {
		p.kill()
	}
	begun := time.Now()
	served, replayed := make([]time.Duration, members), make([]time.Duration, members)
	errs := make([]error, members)
	var wg sync.WaitGroup
	for i, p := range c.processes {
		wg.Go(func() {
			if errs[i] = p.restart(ctx); errs[i] != nil {
				return
			}
			served[i] = time.Since(begun)
			for time.Since(begun) < time.Minute && ctx.Err() == nil {
				// The last few entries are known to be committed only once somebody leads.
				if st, err := c.member(i).status(ctx); err == nil && st.GetApplied()+64 >= applied[i] {
					replayed[i] = time.Since(begun)
					return
				}
				pause(ctx, 2*time.Millisecond)
			}
			errs[i] = fmt.Errorf("%s has not replayed its log in a minute; it said: %s", p.spec.Name, p.said.String())
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	if err := c.awaitAll(ctx); err != nil {
		return err
	}
	first := time.Since(begun)
	kept := true
	fmt.Fprintf(out, "%d commands in the log, no snapshot, %s on disk; all members killed and started at once, election %v\n", commands, mebibytes(disk), s.election)
	for i, p := range c.processes {
		fmt.Fprintf(out, "  %s: serves after %.3f s, has replayed its log after %.3f s (%d entries)\n", p.spec.Name, served[i].Seconds(), replayed[i].Seconds(), applied[i])
		kept = kept && replayed[i]-s.election <= restartMost
	}
	fmt.Fprintf(out, "  all members have answered a write and a read after %.3f s\n", first.Seconds())
	if s.short {
		return nil
	}
	fmt.Fprintf(out, "promised: replayed within %v: %s\n", restartMost, map[bool]string{true: "kept", false: "NOT KEPT"}[kept])
	if !kept {
		return errBroken
	}
	return nil
}
