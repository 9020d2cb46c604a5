package rpc

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/resilience"
)

type connection struct{}

func (connection) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{}, nil
}

// pickerOf returns a picker of ready instances, and their nodes.
func pickerOf(t *target, now time.Time, ids ...string) *picker {
	members := make([]balance.Member, len(ids))
	for i, id := range ids {
		members[i] = balance.Member{ID: id}
	}
	p := &picker{target: t}
	for _, n := range t.balancer.Update(now, members) {
		p.add(n, instance{id: n.ID(), addr: n.ID()}, connection{})
	}
	p.view = t.balancer.View(now, p.nodes)
	return p
}

func attemptBy(t *target, now time.Time, plan resilience.Plan, tried ...*balance.Node) *attempt {
	a := &attempt{call: &call{target: t, tried: tried}, plan: plan, start: now}
	a.Context = context.Background()
	return a
}

// An attempt after a failure takes an instance once more if there is no other one. A hedge does not.
func TestAHedgeGoesToNoInstanceTwice(t *testing.T) {
	now, target := time.Now(), newTarget("echo", ClientConfig{}.defaults())
	p := pickerOf(target, now, "a", "b")
	for range 20 {
		a := attemptBy(target, now, resilience.Plan{Hedged: true}, p.nodes[0])
		if _, err := p.Pick(balancer.PickInfo{Ctx: a}); err != nil || a.node != p.nodes[1] {
			t.Fatalf("picked %v: %v", a.inst.id, err)
		}
		a = attemptBy(target, now, resilience.Plan{Hedged: true}, p.nodes...)
		if _, err := p.Pick(balancer.PickInfo{Ctx: a}); err == nil || a.sent != resilience.NotSent {
			t.Fatalf("the hedge goes to %s as well, and was %v", a.inst.id, a.sent)
		}
		a = attemptBy(target, now, resilience.Plan{}, p.nodes...)
		if _, err := p.Pick(balancer.PickInfo{Ctx: a}); err != nil {
			t.Fatal(err)
		}
	}
}

// What grpc-go tries again has ended without an error, as far as it says.
func TestAStreamThatIsTriedAgainGoesElsewhere(t *testing.T) {
	now, target := time.Now(), newTarget("echo", ClientConfig{}.defaults())
	for range 20 {
		p := pickerOf(target, now, "a", "b")
		a := attemptBy(target, now, resilience.Plan{})
		a.call.stream = true
		pick, err := p.Pick(balancer.PickInfo{Ctx: a})
		if err != nil {
			t.Fatal(err)
		}
		refused := a.node
		pick.Done(balancer.DoneInfo{BytesSent: true})
		if _, err := p.Pick(balancer.PickInfo{Ctx: a}); err != nil || a.node == refused {
			t.Fatalf("it goes to %s again: %v", a.inst.id, err)
		}
	}
}

// Whose neighbours are all ejected is alone.
func TestAnEjectedInstanceIsNobodysAlternative(t *testing.T) {
	now, target := time.Now(), newTarget("echo", ClientConfig{}.defaults())
	p := pickerOf(target, now, "a", "b")
	pick := func() *attempt {
		a := attemptBy(target, now, resilience.Plan{Deadline: now.Add(time.Second)})
		if _, err := p.Pick(balancer.PickInfo{Ctx: a}); err != nil {
			t.Fatal(err)
		}
		return a
	}
	if pick().alone {
		t.Error("there are two")
	}
	for range 50 {
		target.balancer.Done(p.nodes[0], now, now, balance.Latency, balance.Good)
		target.balancer.Done(p.nodes[1], now, now, balance.None, balance.Bad)
	}
	if a := pick(); !a.alone || a.node != p.nodes[0] {
		t.Errorf("of two, one of them ejected, %s is taken and alone: %v", a.inst.id, a.alone)
	}
}

// An instance that never answers and is cancelled sooner than half of the calls are over does not look fast.
func TestALostHedgeIsNoProofOfSpeed(t *testing.T) {
	target := newTarget("echo", ClientConfig{}.defaults())
	for _, tt := range []struct {
		took time.Duration
		want balance.Sample
	}{{time.Millisecond, balance.None}, {50 * time.Millisecond, balance.LowerBound}} {
		now, latency := time.Now(), new(resilience.Latency)
		for range 100 {
			latency.Observe(now, 10*time.Millisecond, balance.Latency)
		}
		now = now.Add(time.Second)
		c := &call{target: target}
		c.loop = resilience.Begin(resilience.Spec{Latency: latency, Deadline: now.Add(time.Second), Safe: true})
		plan, _ := c.loop.Next(now, 0)
		a := &attempt{call: c, plan: plan, start: now}
		c.primary = a
		now = now.Add(tt.took)
		c.lose(now)
		sample, health := a.done(now, balance.NewNode("new"), balancer.DoneInfo{Err: status.Error(codes.Canceled, ""), BytesSent: true})
		if sample != tt.want || health != balance.Neutral {
			t.Errorf("lost after %v: sample %v, health %v", tt.took, sample, health)
		}
	}
}
