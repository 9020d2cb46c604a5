package natsqueue

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// A member that was stopped for a minute hears, when it goes on, what it said of itself before: that is no sign of life.
func TestAnOldHelloIsNoSignOfLife(t *testing.T) {
	now := time.Now()
	o := &ordered{
		e: &Engine{}, s: driver.Subscription{Topic: "t", Group: "g"}, id: "me", dead: 5 * time.Second, lanes: make(map[int]*lane), unsure: make(map[int]bool),
		members: make(map[string]*member), changed: make(chan struct{}), kick: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		born: now.Add(-2 * time.Minute), heard: now.Add(-time.Minute),
	}
	l := takeLane(0, record{}, 1)
	l.pull = newPuller(nil, o.wake)
	o.lanes[0] = l
	body, _ := json.Marshal(hello{ID: "me", Lanes: []int{0}, At: time.Minute}) // said a minute ago
	o.hear(&nats.Msg{Data: body})
	o.fence(time.Now())
	if len(o.lanes) > 0 {
		t.Error("it believes that it has its lanes yet, which others have had for most of a minute")
	}
}
