package core

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell runs one member as a host does: a goroutine for the loop, one for the disk, one for the applier.
type shell struct {
	m       *Member
	a       *Applier
	machine *counter
	wake    chan struct{}
	in      chan func(now time.Time)
	peers   map[uint64]*shell
	wg      sync.WaitGroup
}

func (s *shell) run(stop <-chan struct{}) {
	appends, applies := make(chan *Append, 1000), make(chan *Apply, 1000)
	s.wg.Go(func() {
		for a := range appends {
			time.Sleep(time.Millisecond) //nolint:forbidigo // the sync, in virtual time
			s.deliver(a.Send)
			s.post(stop, func(now time.Time) { s.m.Persisted(now, a) })
		}
	})
	s.wg.Go(func() {
		for item := range applies {
			if err := s.a.Apply(item); err != nil {
				panic(err)
			}
			s.post(stop, func(now time.Time) { s.m.Applied(now, item) })
		}
	})
	s.wg.Go(func() {
		defer close(appends)
		defer close(applies)
		tick := time.NewTimer(0)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				s.m.Stop()
				return
			case f := <-s.in:
				f(time.Now())
			case <-s.wake:
			case <-tick.C:
				s.m.Tick(time.Now())
			}
			w := s.m.Ready(time.Now())
			s.deliver(w.Send)
			for _, a := range w.Append {
				appends <- a
			}
			for _, item := range w.Apply {
				applies <- item
			}
			tick.Reset(time.Until(s.m.NextTick()))
		}
	})
}

func (s *shell) post(stop <-chan struct{}, f func(time.Time)) {
	select {
	case s.in <- f:
	case <-stop:
	}
}

func (s *shell) deliver(msgs []Message) {
	for _, msg := range msgs {
		if p := s.peers[msg.To]; p != nil {
			select {
			case p.in <- func(now time.Time) { p.m.Receive(now, msg) }:
			default: // full: lost
			}
		}
	}
}

func TestManyCallersOnGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers, stop := map[uint64]*shell{}, make(chan struct{})
		infos := []MemberInfo{{ID: 1}, {ID: 2}, {ID: 3}}
		for id := uint64(1); id <= 3; id++ {
			s := &shell{machine: &counter{}, wake: make(chan struct{}, 1), in: make(chan func(time.Time), 10000), peers: peers}
			s.a = NewApplier(id, s.machine)
			var file bytes.Buffer
			if err := errors.Join(Founding(infos).Write(&file), s.a.Restore(&file)); err != nil {
				t.Fatal(err)
			}
			var err error
			s.m, err = New(Config{ID: id, Seed: id, Wake: func() {
				select {
				case s.wake <- struct{}{}:
				default:
				}
			}}, s.a, Restored{}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			peers[id] = s
		}
		for _, s := range peers {
			s.run(stop)
		}
		var callers sync.WaitGroup
		var mu sync.Mutex
		var want []string
		for c := range 30 {
			callers.Go(func() {
				s := peers[uint64(c%3+1)]
				for i := range 20 {
					text := fmt.Sprintf("%d/%d", c, i)
					done := make(chan Result, 1)
					p := &Proposal{Command: []byte(text), Done: func(r Result) { done <- r }}
					if err := s.m.Propose(time.Now(), p); err != nil {
						t.Error(err)
						return
					}
					if i%5 == 4 {
						if pending, _ := s.m.Cancel(p); pending {
							continue
						}
					}
					if r := <-done; r.Err != nil {
						t.Error(r.Err)
					}
					mu.Lock()
					want = append(want, text)
					mu.Unlock()
					read := make(chan error, 1)
					if err := s.m.Read(time.Now(), &Read{Done: func(err error) { read <- err }}); err != nil {
						t.Error(err)
						return
					}
					if err := <-read; err != nil || !s.m.Fresh(time.Now(), time.Second) {
						t.Error("read", err)
					}
					_ = s.m.Status()
				}
			})
		}
		callers.Wait()
		time.Sleep(5 * time.Second) //nolint:forbidigo // in virtual time: all have applied all
		close(stop)
		for _, s := range peers {
			s.wg.Wait()
		}
		log := peers[1].machine.log
		for _, s := range peers {
			if !slices.Equal(s.machine.log, log) {
				t.Fatal("members differ")
			}
		}
		for _, c := range want {
			if n := len(slices.DeleteFunc(slices.Clone(log), func(l string) bool { return l != c })); n != 1 {
				t.Fatalf("%s was applied %d times", c, n)
			}
		}
	})
}
