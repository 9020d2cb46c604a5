package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/ports"
)

const (
	snapshotBytes = 1 << 30
	snapshotValue = 64 << 10
	snapshotGap   = 100 * time.Millisecond
)

// bigSnapshot has a fourth member join a group of much state, which is sent to it as a snapshot, while others write.
func bigSnapshot(ctx context.Context, s settings, out io.Writer) error {
	size := int64(snapshotBytes)
	if s.short {
		size = 4 << 20
	}
	reserved, err := ports.Reserve(2)
	if err != nil {
		return err
	}
	defer reserved.Release()
	newcomer := Spec{
		Engine: holdfast, Name: "holdfast-4", Dir: filepath.Join(s.dir, "snapshot", "holdfast-4"), Addr: reserved.Addr(0), Members: members,
	}
	c, err := startCluster(ctx, holdfast, filepath.Join(s.dir, "snapshot"), func(spec *Spec) {
		newcomer.Peers = maps.Clone(spec.Peers)
		newcomer.Peers[newcomer.Name] = reserved.Addr(1)
		if s.short {
			spec.SnapshotBytes = 1 << 20
		}
	})
	if err != nil {
		return err
	}
	defer c.close()
	begun := time.Now()
	if err := load(ctx, c, size); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s of state, written in %.1f s\n", mebibytes(size), time.Since(begun).Seconds())
	client, err := newWriter(c)
	if err != nil {
		return err
	}
	defer client.close()
	w := startWriters(ctx, client)
	defer w.stop()
	pause(ctx, 2*time.Second)
	w.mark()
	pause(ctx, 5*time.Second)
	before, slowestBefore := w.gaps()
	w.mark()
	begun = time.Now()
	p, err := startProcess(ctx, newcomer)
	if err != nil {
		return err
	}
	for _, other := range c.processes {
		if err := other.tell(newcomer.Peers); err != nil {
			return err
		}
	}
	c.processes = append(c.processes, p)
	at, err := dial(newcomer)
	if err != nil {
		return err
	}
	c.conns = append(c.conns, at)
	for {
		st, err := c.member(members).status(ctx)
		if err == nil && st.GetReady() {
			break
		}
		if ctx.Err() != nil || time.Since(begun) > 5*time.Minute {
			return fmt.Errorf("the new member is not ready after %v: %w; %s; it said: %s", time.Since(begun), err, st.GetText(), p.said.String())
		}
		pause(ctx, 20*time.Millisecond)
	}
	took := time.Since(begun)
	pause(ctx, time.Second)
	gap, slowest := w.gaps()
	long, late := w.long(), w.stoodStill()
	w.stop()
	failed, text := w.failures()
	fmt.Fprintf(out, "a new member has all of it after %.1f s; the longest time without a write %v (before: %v), the slowest write %v (before: %v); errors %d %s\n",
		took.Seconds(), gap.Round(100*time.Microsecond), before.Round(100*time.Microsecond),
		slowest.Round(100*time.Microsecond), slowestBefore.Round(100*time.Microsecond), failed, text)
	fmt.Fprintf(out, "  this process, which hardly does anything, was held up for %v at the most\n", late.Round(100*time.Microsecond))
	for _, p := range c.processes {
		now, most := rssOf(p.pid())
		disk, err := sizeOf(p.spec.Dir)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %s: resident %s, at most %s; on disk %s\n", p.spec.Name, mebibytes(now), mebibytes(most), mebibytes(disk))
	}
	if s.timeline {
		for _, p := range long {
			fmt.Fprintf(out, "no write from %s on for %v\n", p.begun.Format("15:04:05.000"), p.took.Round(100*time.Microsecond))
		}
		fmt.Fprintf(out, "the new member was started at %s\n", begun.Format("15:04:05.000"))
		for _, p := range c.processes {
			fmt.Fprintf(out, "%s said:\n%s\n", p.spec.Name, p.said.String())
		}
	}
	if s.short {
		return nil
	}
	kept := gap <= snapshotGap && failed == 0
	fmt.Fprintf(out, "promised: no time without a write longer than %v: %s\n", snapshotGap, map[bool]string{true: "kept", false: "NOT KEPT"}[kept])
	if !kept {
		return errBroken
	}
	return nil
}

// load writes size bytes of large values from a few clients.
func load(ctx context.Context, c *cluster, size int64) error {
	const clients = 8
	big := strings.Repeat("b", snapshotValue)
	n := int(size / snapshotValue)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for k := i; k < n; k += clients {
				if errs[i] = c.conns[i%members].put(ctx, fmt.Sprintf("big-%06d", k), big); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
