package breakage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

func freeze(ids ...string) control.FaultRequest {
	return control.FaultRequest{Kind: control.FaultFreeze, Targets: ids}
}

func slow(share float64, ids ...string) control.FaultRequest {
	return control.FaultRequest{Kind: control.FaultSlowCPU, Targets: ids, Share: share}
}

func cut(from, to string) control.FaultRequest {
	return netFault(from, to, control.Shape{CutOut: true, CutIn: true})
}

func netFault(from, to string, s control.Shape) control.FaultRequest {
	return control.FaultRequest{Kind: control.FaultNet, Links: []control.Link{{From: []string{from}, To: []string{to}, Shape: s}}}
}

func scaleTo(service string, n int) control.FaultRequest {
	return control.FaultRequest{Kind: control.FaultScale, Targets: []string{service}, Replicas: &n}
}

func inject(t *testing.T, k *Keeper, req control.FaultRequest) control.Fault {
	t.Helper()
	f, err := k.Inject(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func wantCode(t *testing.T, err error, code failure.Code, reason string) {
	t.Helper()
	var e *failure.Error
	if failure.CodeOf(err) != code || reason != "" && (!errors.As(err, &e) || e.Reason != reason) {
		t.Errorf("got %v (%s), want %s %s", err, failure.CodeOf(err), code, reason)
	}
}

// Whoever breaks something and does not come back leaves it broken for as long as its lease, and no longer.
func TestLease(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		f := inject(t, k, freeze("orders-1"))
		if !s.proc("orders-1").frozen || time.Until(f.Until) != control.DefaultTTL || f.What != "orders-1 is frozen" || f.Trouble != "" {
			t.Fatalf("%+v", f)
		}
		pass(4 * time.Second)
		if _, err := k.Renew(t.Context(), f.ID); err != nil {
			t.Fatal(err)
		}
		pass(4 * time.Second)
		if !s.proc("orders-1").frozen {
			t.Error("mended although its lease was renewed")
		}
		pass(time.Second)
		synctest.Wait()
		if s.proc("orders-1").frozen || len(k.Faults()) != 0 {
			t.Error("not mended at the end of its lease")
		}
		_, err := k.Renew(t.Context(), f.ID)
		wantCode(t, err, failure.NotFound, control.ReasonUnknownFault)
		wantCode(t, k.Mend(t.Context(), f.ID), failure.NotFound, control.ReasonUnknownFault)
		want := []string{"fault-begun: broken on purpose: orders-1 is frozen", "fault-ended: mended: orders-1 is frozen; nobody has renewed its lease for 5s"}
		if !slices.Equal(s.events, want) {
			t.Errorf("%q", s.events)
		}
	})
}

// A client that is killed between Inject and its answer has a lease like any other.
func TestRequestThatIsGivenUp(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := k.Inject(ctx, cut("orders-1", "*")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(s.broken()) == 0 {
			t.Error("nothing was broken")
		}
		pass(control.DefaultTTL)
		synctest.Wait()
		if left := s.broken(); len(left) > 0 {
			t.Error(left)
		}
	})
}

// Two that freeze the same process: it goes on when both have mended it.
func TestOverlap(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		a, b := inject(t, k, freeze("orders-1", "orders-2")), inject(t, k, freeze("orders-2", "orders-3"))
		if err := k.Mend(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
		if s.proc("orders-1").frozen || !s.proc("orders-2").frozen || !s.proc("orders-3").frozen {
			t.Error("the wrong ones are frozen")
		}
		if err := k.Mend(t.Context(), b.ID); err != nil {
			t.Fatal(err)
		}
		if s.proc("orders-2").frozen {
			t.Error("still frozen")
		}
	})
}

// A process that is frozen takes note of nothing. Whoever breaks and mends others does not wait for it, and it is thawed at
// once although there is something that it has not taken note of.
func TestFrozenProcessHoldsUpNobody(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		frozen := inject(t, k, freeze("orders-1"))
		begun := time.Now()
		f := inject(t, k, cut("*", "*"))
		if took := time.Since(begun); took > 100*time.Millisecond || f.Trouble != "" {
			t.Errorf("took %s; %q", took, f.Trouble)
		}
		if s.proc("cart-1").plan.Dial == nil || s.proc("orders-1").plan.Dial != nil {
			t.Error("the plan is in force for the wrong ones")
		}
		begun = time.Now()
		if err := k.Mend(t.Context(), frozen.ID); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("thawed after %s", took)
		}
		if s.proc("orders-1").plan.Dial == nil {
			t.Error("it goes on as if nothing was broken")
		}
	})
}

// One that is stuck, and not frozen by us, is told of after a while.
func TestProcessThatDoesNotAnswer(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		s.mu.Lock()
		s.procs["orders-1"].frozen, s.procs["orders-1"].unseen = true, true
		s.mu.Unlock()
		k.Changed()
		synctest.Wait()
		begun := time.Now()
		f := inject(t, k, cut("orders-2", "orders-1"))
		if took := time.Since(begun); took > applyTimeout {
			t.Errorf("took %s", took)
		}
		s.goOn("orders-1")
		if s.proc("orders-1").plan.Dial == nil {
			t.Error("it was not told")
		}
		if err := k.Mend(t.Context(), f.ID); err != nil {
			t.Fatal(err)
		}
	})
}

// What is to be done next to a process does not wait until it has taken note of what was before.
func TestNewestCounts(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		s.mu.Lock()
		s.procs["orders-1"].frozen, s.procs["orders-1"].unseen = true, true
		s.mu.Unlock()
		asked := make(chan error, 1)
		go func() {
			_, err := k.Inject(t.Context(), cut("orders-2", "orders-1"))
			asked <- err
		}()
		synctest.Wait()
		begun := time.Now()
		f := inject(t, k, slow(0.5, "orders-1"))
		pass(time.Millisecond)
		if s.proc("orders-1").share != 0.5 {
			t.Errorf("not slowed after %s", time.Since(begun))
		}
		s.goOn("orders-1")
		if err := k.Mend(t.Context(), f.ID); err != nil {
			t.Fatal(err)
		}
		if err := <-asked; err != nil {
			t.Error(err)
		}
	})
}

// What is started again under the same name suffers the same, and is not left in it.
func TestRestartedProcess(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		f, g, h := inject(t, k, freeze("orders-1")), inject(t, k, slow(0.5, "orders-2")), inject(t, k, cut("orders-3", "*"))
		for _, id := range []string{"orders-1", "orders-2", "orders-3"} {
			s.restart(id)
		}
		synctest.Wait()
		if !s.proc("orders-1").frozen || s.proc("orders-2").share != 0.5 || s.proc("orders-3").plan.Accept == nil {
			t.Errorf("%+v", s.procs)
		}
		// Mended while there is no process: the next one is well.
		for _, id := range []string{"orders-1", "orders-2", "orders-3"} {
			s.kill(id)
		}
		synctest.Wait()
		if got := k.Faults()[0].Trouble; got != "orders-1 is not running" {
			t.Errorf("trouble: %q", got)
		}
		for _, f := range []control.Fault{f, g, h} {
			if err := k.Mend(t.Context(), f.ID); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []string{"orders-1", "orders-2", "orders-3"} {
			s.restart(id)
		}
		synctest.Wait()
		if left := s.broken(); len(left) > 0 {
			t.Error(left)
		}
	})
}

// A process that was replaced without the Keeper's knowledge goes on, too.
func TestReplacedUnseen(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		f := inject(t, k, freeze("orders-1"))
		changed := s.changed
		s.changed = func() {}
		s.restart("orders-1")
		if err := s.Freeze("orders-1"); err != nil { // a signal that was on its way
			t.Fatal(err)
		}
		if err := k.Mend(t.Context(), f.ID); err != nil {
			t.Fatal(err)
		}
		if s.proc("orders-1").frozen {
			t.Error("still frozen")
		}
		s.changed = changed
	})
}

// Everything is mended before the first process is stopped; nothing new is broken.
func TestStopWithFaultsInForce(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		inject(t, k, freeze("orders-1"))
		inject(t, k, slow(0.1, "cart-1"))
		inject(t, k, cut("orders-1", "cart-1"))
		inject(t, k, netFault("*", "registry", control.Shape{Delay: time.Second}))
		inject(t, k, scaleTo("cart", 1))
	})
	k := New(newFake(t), Config{})
	_, err := k.Inject(t.Context(), freeze("orders-1"))
	wantCode(t, err, failure.FailedPrecondition, "")
}

func TestScaleIsUndone(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		a := inject(t, k, scaleTo("orders", 1))
		synctest.Wait()
		b := inject(t, k, scaleTo("orders", 5))
		synctest.Wait()
		if s.replicas["orders"] != 5 || s.held["orders"] != 1 {
			t.Errorf("%v, held %v", s.replicas, s.held)
		}
		if err := k.Mend(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s.replicas["orders"] != 5 {
			t.Errorf("the end of the first one changed it: %v", s.replicas)
		}
		// A scale that is refused, as in a restart, is tried again.
		s.mu.Lock()
		s.refuse = failure.New(failure.Aborted, "orders is being restarted")
		s.mu.Unlock()
		if err := k.Mend(t.Context(), b.ID); err != nil {
			t.Fatal(err)
		}
		pass(3 * time.Second)
		s.mu.Lock()
		s.refuse = nil
		s.mu.Unlock()
		pass(2 * scaleRetry)
		if left := s.broken(); len(left) > 0 {
			t.Error(left)
		}
		// What somebody asks for meanwhile is what remains.
		c := inject(t, k, scaleTo("orders", 1))
		synctest.Wait()
		s.mu.Lock()
		s.replicas["orders"] = 3
		s.mu.Unlock()
		k.Rescaled("orders", 3)
		if err := k.Mend(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if left := s.broken(); len(left) > 0 {
			t.Error(left)
		}
	})
}

// Whoever scales a service by hand while a fault does has the last word until another fault begins, and is not told that it is
// done when it is about to be undone.
func TestAHandOverrulesAScale(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		hand := func(n int) {
			if err := s.Scale(t.Context(), "orders", n); err != nil {
				t.Fatal(err)
			}
			k.Rescaled("orders", n)
		}
		want := func(when string, steps ...int) {
			t.Helper()
			k.Changed()
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if !slices.Equal(s.steps, steps) || s.held["orders"] != 1 {
				t.Errorf("%s: scaled to %v, not %v; held %v", when, s.steps, steps, s.held)
			}
		}
		old := inject(t, k, scaleTo("orders", 1))
		want("a fault", 1)
		hand(5)
		want("a hand during it", 1, 5)
		if f := k.Faults()[0]; f.Trouble != "overruled by hand" {
			t.Errorf("trouble: %q", f.Trouble)
		}
		newer := inject(t, k, scaleTo("orders", 2))
		want("a fault after the hand", 1, 5, 2)
		if f := k.Faults()[1]; f.Trouble != "" {
			t.Errorf("trouble: %q", f.Trouble)
		}
		if err := k.Mend(t.Context(), newer.ID); err != nil {
			t.Fatal(err)
		}
		want("its end", 1, 5, 2, 5)
		if err := k.Mend(t.Context(), old.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.mu.Lock()
		if !slices.Equal(s.steps, []int{1, 5, 2, 5}) || s.held["orders"] != 0 {
			t.Errorf("no fault any more: scaled to %v; held %v", s.steps, s.held)
		}
		// What is being asked for when the hand comes is given up.
		s.waits = map[int]bool{7: true}
		s.mu.Unlock()
		inject(t, k, scaleTo("orders", 7))
		synctest.Wait()
		hand(3)
		want("a fault that waits", 1, 5, 2, 5, 7, 3)
		pass(control.DefaultTTL)
		synctest.Wait()
		if left := s.broken(); len(left) > 0 {
			t.Error(left)
		}
	})
}

// A scale whose instances do not become ready does not outlive its fault, nor a newer one.
func TestScaleThatWaitsIsGivenUp(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		s.waits = map[int]bool{5: true}
		inject(t, k, scaleTo("orders", 5))
		synctest.Wait()
		if n := s.Replicas("orders"); n != 5 {
			t.Errorf("%d", n)
		}
		pass(control.DefaultTTL + 2*time.Second)
		if left := s.broken(); len(left) > 0 {
			t.Errorf("its lease has ended: %q", left)
		}
		inject(t, k, scaleTo("orders", 5))
		synctest.Wait()
		f := inject(t, k, scaleTo("orders", 1))
		synctest.Wait()
		if n, all := s.Replicas("orders"), k.Faults(); n != 1 || all[1].Trouble != "" {
			t.Errorf("%d; %+v", n, all)
		}
		if err := k.Mend(t.Context(), f.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.Replicas("orders"); n != 5 {
			t.Errorf("the older one is in force again, but there are %d", n)
		}
	})
}

// What cannot be done is refused, in words that say what could be.
func TestRefused(t *testing.T) {
	keep(t, func(t *testing.T, _ *fakeSystem, k *Keeper) {
		ask := func(req control.FaultRequest, code failure.Code, reason, words string) {
			t.Helper()
			_, err := k.Inject(t.Context(), req)
			wantCode(t, err, code, reason)
			if err != nil && !strings.Contains(err.Error(), words) {
				t.Errorf("%v, want %q in it", err, words)
			}
		}
		disk := control.FaultRequest{Kind: control.FaultDisk, Targets: []string{"legacy-1"}, Disk: &control.Disk{Full: true}}
		ask(disk, failure.FailedPrecondition, control.ReasonDoesNotFollow, "legacy-1")
		ask(cut("orders-1", "legacy-1"), failure.FailedPrecondition, control.ReasonDoesNotFollow, "--netns")
		ask(cut("control-1", "control-2"), failure.FailedPrecondition, control.ReasonDoesNotFollow, "--netns")
		ask(cut("control-1", "*"), failure.FailedPrecondition, control.ReasonDoesNotFollow, "--netns")
		ask(netFault("orders-1", "cart-1", control.Shape{Loss: 0.1}), failure.FailedPrecondition, "", "--netns")
		ask(freeze("orders-9"), failure.NotFound, control.ReasonUnknown, "orders-3")
		ask(cut("orders-9", "*"), failure.NotFound, control.ReasonUnknown, "orders-9")
		ask(scaleTo("mail", 1), failure.NotFound, control.ReasonUnknown, "legacy")
		ask(control.FaultRequest{Kind: control.FaultFreeze}, failure.InvalidArgument, "", "targets")
		// Of a foreign process, and of a control member, what needs no help works.
		inject(t, k, freeze("legacy-1"))
		inject(t, k, freeze("control-1"))
		inject(t, k, cut("orders-1", "control-1"))
		inject(t, k, cut("*", "registry"))
	})
}

func TestTooMany(t *testing.T) {
	keep(t, func(t *testing.T, _ *fakeSystem, k *Keeper) {
		for range control.MaxFaults {
			inject(t, k, freeze("orders-1"))
		}
		_, err := k.Inject(t.Context(), freeze("orders-1"))
		wantCode(t, err, failure.ResourceExhausted, "")
	})
}

// In namespaces the network breaks what passes between processes, foreign ones as well; engines are still reached through
// the processes' own connections.
func TestPackets(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		s.packets = true
		f := inject(t, k, netFault("legacy-1", "control-2", control.Shape{CutOut: true, Loss: 0.5}))
		if s.links[f.ID] != 1 || len(s.plans) != 0 {
			t.Errorf("%v, %v", s.links, s.plans)
		}
		inject(t, k, cut("orders-1", "queue"))
		if len(s.plans) != 1 || len(s.links) != 1 {
			t.Errorf("%v, %v", s.links, s.plans)
		}
	})
}
