package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// platform is `holdfast up` itself.
const platform = "platform"

// point is the memory of a process at one time.
type point struct {
	at             time.Duration
	resident, heap float64 // MiB; heap 0: not known
}

// line is one process over time. A process that is started again is another one.
type line struct {
	name    string
	service string
	pid     int
	points  []point
}

// watch reads the memory of everything until stop.
func watch(ctx context.Context, sys *system) (lines <-chan []*line, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan []*line, 1)
	go func() {
		all := make(map[int]*line) // by pid
		begun := time.Now()
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			sample(ctx, sys, time.Since(begun), all)
			select {
			case <-tick.C:
			case <-ctx.Done():
				out <- slices.SortedFunc(maps.Values(all), func(a, b *line) int {
					if a.name != b.name {
						return strings.Compare(a.name, b.name)
					}
					return a.pid - b.pid
				})
				return
			}
		}
	}()
	return out, cancel
}

// sample adds what is known now. What is not is left out: a process that has just ended, an API that is late.
func sample(ctx context.Context, sys *system, at time.Duration, all map[int]*line) {
	ctx, cancel := context.WithTimeout(ctx, sampleEvery)
	defer cancel()
	add := func(service, name string, pid int, heap int64) {
		resident, err := readResident(pid)
		if err != nil {
			return
		}
		if all[pid] == nil {
			all[pid] = &line{name: name, service: service, pid: pid}
		}
		all[pid].points = append(all[pid].points, point{at, resident, float64(heap) / (1 << 20)})
	}
	add(platform, platform, sys.cmd.Process.Pid, 0)
	live, err := sys.client.Snapshot(ctx)
	if err != nil {
		return
	}
	for _, i := range live.Instances {
		if i.PID != 0 {
			add(i.Service, i.ID, i.PID, i.Heap)
		}
	}
}

// readResident returns what a process has in memory that is not a page of a file, in MiB.
func readResident(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err //nolint:wrapcheck // says it all
	}
	for text := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(text, "RssAnon:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kib / 1024, err //nolint:wrapcheck // says it all
		}
	}
	return 0, fmt.Errorf("/proc/%d/status says nothing of memory", pid)
}
