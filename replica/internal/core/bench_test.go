package core

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"
)

// still is a machine that does nothing, so that the benchmark shows this package.
type still struct{}

func (still) Apply(e Entry) ([]byte, error)      { return e.Command[:8:8], nil }
func (still) Snapshot() (MachineSnapshot, error) { return counterSnapshot(nil), nil }
func (still) Restore(io.Reader) error            { return nil }

// bare is three members without disk, and a network that is a slice.
type bare struct {
	members  []*Member
	appliers []*Applier
	now      time.Time
	net      []Message
}

func newBare(b *testing.B) *bare {
	x := &bare{now: time.Unix(1, 0)}
	infos := []MemberInfo{{ID: 1}, {ID: 2}, {ID: 3}}
	for i := range infos {
		a := NewApplier(uint64(i+1), still{})
		var file bytes.Buffer
		if err := Founding(infos).Write(&file); err != nil {
			b.Fatal(err)
		}
		if err := a.Restore(&file); err != nil {
			b.Fatal(err)
		}
		m, err := New(Config{ID: uint64(i + 1), Seed: 1}, a, Restored{}, x.now)
		if err != nil {
			b.Fatal(err)
		}
		x.members, x.appliers = append(x.members, m), append(x.appliers, a)
	}
	for x.members[0].Status().Leader == 0 || x.members[2].pending.session == 0 || x.members[0].pending.session == 0 {
		x.now = x.now.Add(10 * time.Millisecond)
		for _, m := range x.members {
			m.Tick(x.now)
		}
		for x.turn(b) {
		}
	}
	return x
}

func (x *bare) turn(b *testing.B) (busy bool) {
	for i, m := range x.members {
		w := m.Ready(x.now)
		if w.Err != nil {
			b.Fatal(w.Err)
		}
		x.net = append(x.net, w.Send...)
		for _, a := range w.Append {
			busy = true
			x.net = append(x.net, a.Send...)
			m.Persisted(x.now, a)
		}
		for _, item := range w.Apply {
			busy = true
			if err := x.appliers[i].Apply(item); err != nil {
				b.Fatal(err)
			}
			m.Applied(x.now, item)
		}
		if w.Snapshot {
			c, err := x.appliers[i].Snapshot()
			if err != nil {
				b.Fatal(err)
			}
			m.SnapshotSaved(x.now, c, 0)
		}
	}
	for i := 0; i < len(x.net); i++ {
		busy = true
		x.members[x.net[i].To-1].Receive(x.now, x.net[i])
	}
	clear(x.net)
	x.net = x.net[:0]
	return busy
}

// BenchmarkPropose is what a command of 128 bytes costs three members together, without disk, network and callers.
func BenchmarkPropose(b *testing.B) {
	for _, clients := range []int{1, 64, 256} {
		for _, at := range []string{"leader", "follower"} {
			b.Run(fmt.Sprintf("%s-%d", at, clients), func(b *testing.B) {
				x := newBare(b)
				m := x.members[0]
				for _, o := range x.members {
					if (o.Status().Role == Leader) == (at == "leader") {
						m = o
					}
				}
				calls, done := make([]Proposal, clients), 0
				for i := range calls {
					calls[i] = Proposal{Command: make([]byte, 128), Done: func(r Result) {
						if r.Err != nil {
							b.Fatal(r.Err)
						}
						done++
					}}
				}
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; n += clients {
					done = 0
					for i := range calls {
						if err := m.Propose(x.now, &calls[i]); err != nil {
							b.Fatal(err)
						}
					}
					for done < clients {
						x.turn(b)
					}
				}
			})
		}
	}
}

// BenchmarkRead is what a linearizable read on a follower costs.
func BenchmarkRead(b *testing.B) {
	for _, clients := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			x := newBare(b)
			m := x.members[0]
			for _, o := range x.members {
				if o.Status().Role != Leader {
					m = o
				}
			}
			calls, done := make([]Read, clients), 0
			for i := range calls {
				calls[i].Done = func(err error) { done++ }
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += clients {
				done = 0
				for i := range calls {
					if err := m.Read(x.now, &calls[i]); err != nil {
						b.Fatal(err)
					}
				}
				for done < clients {
					x.turn(b)
				}
			}
		})
	}
}
