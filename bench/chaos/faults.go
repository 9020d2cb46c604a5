package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

// The faults.
const (
	faultKill      = "kill"      // kill -9 of a member
	faultAll       = "all"       // kill -9 of all members
	faultEnd       = "end"       // SIGTERM: the member hands over and ends
	faultFreeze    = "freeze"    // SIGSTOP of a member, longer than an election takes or shorter
	faultPartition = "partition" // some members from the others, or one way only
	faultIsolate   = "isolate"   // the leader from all, or one way only
	faultReset     = "reset"     // connections break, processes live
	faultDisk      = "disk"      // a member loses its disk
	faultLossy     = "lossy"     // packets are lost and late, everywhere; only between namespaces
)

var allFaults = []string{faultKill, faultAll, faultEnd, faultFreeze, faultPartition, faultIsolate, faultReset, faultDisk}

// parseFaults reads a list with commas; an empty one is all that there are.
func parseFaults(list string, netns bool) ([]string, error) {
	all := allFaults
	if netns {
		all = append(slices.Clone(all), faultLossy)
	}
	if list == "" {
		return all, nil
	}
	out := strings.Split(list, ",")
	for _, f := range out {
		if !slices.Contains(all, f) {
			return nil, fmt.Errorf("there is no fault %q; there are %s", f, strings.Join(all, ","))
		}
	}
	return out, nil
}

// monkey causes faults, one after the other: two at once are a fault that lasts while the next is caused.
type monkey struct {
	f      *fleet
	r      *rand.Rand
	faults []string
	every  time.Duration
	say    func(format string, args ...any)

	caused map[string]int
	later  []undo
}

// undo is what ends a fault.
type undo struct {
	at time.Time
	do func() error
}

// run causes faults until the time is over, then ends all of them. An error says that a member does not come back.
func (m *monkey) run(ctx context.Context, length time.Duration) error {
	end := time.Now().Add(length)
	next := time.Now().Add(m.every)
	for time.Now().Before(end) && ctx.Err() == nil {
		wake := min(time.Until(next), time.Until(end), 50*time.Millisecond)
		t := time.NewTimer(max(wake, 0))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		if err := m.undo(time.Now()); err != nil {
			return err
		}
		if err := m.watch(); err != nil {
			return err
		}
		if time.Now().Before(next) {
			continue
		}
		fault := m.faults[m.r.IntN(len(m.faults))]
		if m.cause(ctx, fault) {
			m.caused[fault]++
		}
		next = time.Now().Add(time.Duration(float64(m.every) * (0.2 + 1.6*m.r.Float64())))
	}
	return m.peace()
}

// peace ends all faults.
func (m *monkey) peace() error {
	err := m.undo(time.Now().Add(time.Hour))
	m.f.between.heal()
	for _, p := range m.f.processes {
		p.freeze(false)
		if !p.up() {
			err = errors.Join(err, p.start())
		}
	}
	m.say("peace")
	return err
}

func (m *monkey) undo(now time.Time) error {
	var errs []error
	m.later = slices.DeleteFunc(m.later, func(u undo) bool {
		if u.at.After(now) {
			return false
		}
		errs = append(errs, u.do())
		return true
	})
	return errors.Join(errs...)
}

func (m *monkey) after(d time.Duration, do func() error) {
	m.later = append(m.later, undo{time.Now().Add(d), do})
}

// watch looks for members that have ended though nobody told them to.
func (m *monkey) watch() error {
	for _, p := range m.f.processes {
		if !p.up() && !p.down {
			return fmt.Errorf("%s has ended by itself: %w\n%s", p.spec.Name, p.err, p.said)
		}
	}
	return nil
}

// cause causes a fault and reports whether there was room for it.
func (m *monkey) cause(ctx context.Context, fault string) bool {
	i := m.r.IntN(len(m.f.processes))
	if l := m.f.leader(ctx); l >= 0 && (fault == faultIsolate || m.r.IntN(2) == 0) {
		i = l
	}
	p := m.f.processes[i]
	d := time.Duration(50+m.r.IntN(400)) * time.Millisecond
	if m.r.IntN(2) == 0 {
		d = time.Duration(1+m.r.IntN(8)) * time.Second
	}
	switch fault {
	case faultKill, faultEnd, faultDisk:
		return m.stop(ctx, p, fault, d)
	case faultAll:
		m.say("kill -9 of all, %v", d)
		for _, p := range m.f.processes {
			if p.up() {
				p.down = true
				p.kill()
				m.restart(p, time.Duration(m.r.Int64N(int64(d))))
			}
		}
	case faultFreeze:
		if !p.up() || p.frozen {
			return false
		}
		m.say("freeze %s for %v", p.spec.Name, d)
		p.freeze(true)
		m.after(d, func() error { p.freeze(false); return nil })
	case faultReset:
		other := (i + 1 + m.r.IntN(len(m.f.processes)-1)) % len(m.f.processes)
		m.say("reset %s–%s", p.spec.Name, name(other))
		m.f.between.sever(i, other)
	case faultLossy:
		loss, delay := 0.05+0.3*m.r.Float64(), time.Duration(m.r.IntN(200))*time.Millisecond
		m.say("lose %.0f%% and delay up to %v, for %v", 100*loss, delay, d)
		m.f.between.disturb(loss, delay)
		m.after(d, func() error { m.f.between.heal(); return nil })
	default:
		m.partition(fault, i, d)
	}
	return true
}

func (m *monkey) stop(ctx context.Context, p *process, fault string, d time.Duration) bool {
	if !p.up() || p.frozen {
		return false
	}
	if fault == faultDisk && !m.f.whole(ctx) {
		return false // one at a time: more is more than what is promised
	}
	m.say("%s %s for %v", fault, p.spec.Name, d)
	p.down = true
	if fault == faultEnd {
		p.end(10 * time.Second)
	} else {
		p.kill()
	}
	if fault == faultDisk {
		if err := os.RemoveAll(p.spec.Dir); err != nil {
			m.say("%v", err)
		}
	}
	m.restart(p, d)
	return true
}

func (m *monkey) restart(p *process, d time.Duration) {
	m.after(d, func() error {
		if p.up() {
			return nil
		}
		return p.start()
	})
}

func (m *monkey) partition(fault string, i int, d time.Duration) {
	a, b := []int{i}, []int{}
	for x := range m.f.processes {
		switch {
		case x == i:
		case fault == faultPartition && len(a) < len(m.f.processes)-1 && m.r.IntN(2) == 0:
			a = append(a, x)
		default:
			b = append(b, x)
		}
	}
	if m.r.IntN(2) == 0 {
		a, b = b, a
	}
	oneWay := m.r.IntN(3) == 0
	m.say("%s %v | %v, one way %v, for %v", fault, a, b, oneWay, d)
	m.f.between.cut(a, b, oneWay)
	m.after(d, func() error { m.f.between.heal(); return nil })
}
