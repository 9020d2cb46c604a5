package queuetest

import (
	"slices"
	"testing"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// groupCases are about groups and their instances.
var groupCases = []testCase{
	{name: "GroupsAreIndependent", run: groupsAreIndependent},
	{name: "DeclaredGroupsMissNothing", run: declaredGroupsMissNothing},
	{name: "NewGroup", run: newGroup},
	{name: "InstancesShare", run: instancesShare},
	{name: "ToOneGroup", run: toOneGroup},
	{name: "GroupsAreListed", run: groupsAreListed},
}

// groupsAreIndependent: each group gets everything, and what one does with it is nothing to the other.
func groupsAreIndependent(t *testing.T, e *env) {
	c := e.declared(t, "a", "b")
	a, b := e.subscribe(t, c, "a"), e.subscribe(t, c, "b")
	ms := messages(10)
	e.publish(t, c, ms...)
	a.ack(a.want(10)...)
	e.settled(t, c, "a")
	ds := b.want(10)
	if got := texts(ds); !slices.Equal(got, sent(ms)) {
		t.Errorf("b received %v", got)
	}
	for _, d := range ds {
		if err := b.Return(e.ctx(t), d, 0); err != nil {
			t.Fatalf("return: %v", err)
		}
	}
	b.ack(b.want(10)...)
	a.nothing(e.awhile())
	e.settled(t, c, "b")
}

// declaredGroupsMissNothing: a group that was declared gets what is published before its first instance comes. Declaring again
// adds groups and takes nothing away.
func declaredGroupsMissNothing(t *testing.T, e *env) {
	c := e.declared(t, "a")
	e.publish(t, c, message("", 0))
	e.declare(t, c, "b", "a")
	e.declare(t, c)
	e.publish(t, c, message("", 1))
	a := e.subscribe(t, c, "a")
	ds := a.want(2)
	if got := texts(ds); !slices.Equal(got, []string{" 0", " 1"}) {
		t.Errorf("a received %v", got)
	}
	a.ack(ds...)
	b := e.subscribe(t, c, "b")
	if c.Capabilities().Retains {
		b.ack(b.want(1)...)
	}
	b.ack(b.want(1)...)
}

// newGroup: a group that nobody knew gets what the topic has, if the engine retains, and otherwise what comes.
func newGroup(t *testing.T, e *env) {
	c := e.declared(t, "old")
	ms := messages(5)
	e.publish(t, c, ms...)
	old := e.subscribe(t, c, "old")
	old.ack(old.want(5)...)
	e.settled(t, c, "old")
	r := e.subscribe(t, c, "new")
	if c.Capabilities().Retains {
		ds := r.want(5)
		if got := texts(ds); !slices.Equal(got, sent(ms)) {
			t.Errorf("received %v", got)
		}
		r.ack(ds...)
	} else {
		r.nothing(e.awhile())
	}
	e.publish(t, c, message("", 9))
	ds := r.want(1)
	if string(ds[0].Message.Data) != " 9" {
		t.Errorf("received %s", ds[0].Message.Data)
	}
	r.ack(ds...)
	e.settled(t, c, "new")
}

// instancesShare: of several instances of a group each message is given to one.
func instancesShare(t *testing.T, e *env) {
	c := e.declared(t, "g")
	rs := []*receiver{e.subscribe(t, c, "g", window(10)), e.subscribe(t, e.client(t), "g", window(10)), e.subscribe(t, e.client(t), "g", window(10))}
	ms := messages(300)
	e.publish(t, c, ms...)
	got := make(chan *driver.Delivery, 2*len(ms))
	for _, r := range rs {
		go func() {
			for {
				ds, err := r.Receive(t.Context(), 5)
				if err != nil {
					return
				}
				if err := r.Ack(t.Context(), ds); err != nil {
					t.Errorf("ack: %v", err)
				}
				for _, d := range ds {
					got <- d
				}
			}
		}()
	}
	e.until(t, "all are received", func() bool { return len(got) >= len(ms) })
	for _, r := range rs {
		r.Stop()
	}
	e.settled(t, c, "g")
	close(got)
	var all []*driver.Delivery
	for d := range got {
		all = append(all, d)
	}
	if names := texts(all); !slices.Equal(names, sent(ms)) {
		t.Errorf("received %d: %v", len(names), names)
	}
}

// toOneGroup: what is published to one group is seen by that one alone.
func toOneGroup(t *testing.T, e *env) {
	c := e.declared(t, "a", "b")
	a, b := e.subscribe(t, c, "a"), e.subscribe(t, c, "b")
	ms := []*driver.Message{message("k", 0), message("", 1)}
	for range 2 { // the same IDs again
		for _, err := range c.PublishTo(e.ctx(t), e.topic, "a", ms) {
			if err != nil {
				t.Fatalf("publish: %v", err)
			}
		}
		ds := a.want(2)
		if got := texts(ds); !slices.Equal(got, sent(ms)) {
			t.Errorf("received %v", got)
		}
		a.ack(ds...)
	}
	b.nothing(e.awhile())
	e.settled(t, c, "a")
	n := e.subscribe(t, c, "new")
	n.nothing(e.awhile())
}

// groupsAreListed, with how far behind they are.
func groupsAreListed(t *testing.T, e *env) {
	c := e.declared(t, "b", "a")
	has := func(group string) bool {
		gs, err := c.Groups(e.ctx(t))
		if err != nil {
			t.Fatalf("groups: %v", err)
		}
		if !slices.IsSortedFunc(gs, func(x, y driver.Group) int {
			return slices.Compare([]string{x.Topic, x.Group}, []string{y.Topic, y.Group})
		}) {
			t.Errorf("groups are not in order: %v", gs)
		}
		return slices.Contains(gs, driver.Group{Topic: e.topic, Group: group})
	}
	e.until(t, "groups a and b are listed", func() bool { return has("a") && has("b") })
	if has("c") {
		t.Error("a group is listed that does not exist")
	}
	e.publish(t, c, messages(7)...)
	lag := func(group string, want driver.Lag) {
		t.Helper()
		var got driver.Lag
		e.until(t, "the lag is right", func() bool {
			var err error
			got, err = c.Lag(e.ctx(t), e.topic, group)
			return err == nil && got.Waiting+got.Unsettled == want.Waiting+want.Unsettled && got.Dead == want.Dead
		})
	}
	lag("a", driver.Lag{Waiting: 7})
	r := e.subscribe(t, c, "a")
	ds := r.want(7)
	lag("a", driver.Lag{Unsettled: 7})
	r.ack(ds...)
	lag("a", driver.Lag{})
	lag("b", driver.Lag{Waiting: 7})
}
