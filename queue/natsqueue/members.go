package natsqueue

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// member is another member, as it was last heard.
type member struct {
	seen    time.Time
	lanes   []int
	leaving bool
}

// hello is what members tell each other.
type hello struct {
	ID      string `json:"id"`
	Lanes   []int  `json:"lanes,omitempty"`
	Leaving bool   `json:"leaving,omitempty"`
	Gone    bool   `json:"gone,omitempty"`
	Asks    bool   `json:"asks,omitempty"` // wants to hear the others at once
	// At is when it was said, by the speaker's own clock: what a member hears of itself may have waited for long.
	At time.Duration `json:"at,omitempty"`
}

func (o *ordered) say(h hello) {
	h.At = time.Since(o.born)
	body, _ := json.Marshal(h)
	_ = o.e.link.conn.Publish(o.e.names.members(o.s.Topic, o.s.Group), body) // or the next one
}

// tell says what this member has.
func (o *ordered) tell() {
	o.mu.Lock()
	h := hello{ID: o.id, Leaving: o.stopped}
	for n := range o.lanes {
		h.Lanes = append(h.Lanes, n)
	}
	o.mu.Unlock()
	slices.Sort(h.Lanes)
	o.say(h)
}

func (o *ordered) hear(m *nats.Msg) {
	var h hello
	if len(m.Data) > maxHello || json.Unmarshal(m.Data, &h) != nil || h.ID == "" || len(h.Lanes) > maxLanes {
		return
	}
	o.mu.Lock()
	now := time.Now()
	if h.ID == o.id {
		if at := o.born.Add(h.At); at.After(o.heard) && !at.After(now) {
			o.heard = at
		}
		o.mu.Unlock()
		return
	}
	was := o.members[h.ID]
	news := was == nil || was.leaving != h.Leaving || !slices.Equal(was.lanes, h.Lanes) || h.Gone
	if h.Gone {
		delete(o.members, h.ID)
	} else if was != nil || len(o.members) < maxMembers {
		o.members[h.ID] = &member{now, h.Lanes, h.Leaving}
	}
	o.mu.Unlock()
	if h.Asks {
		o.tell()
	}
	if news {
		signal(o.kick)
	}
}

// fence gives up everything when this member does not hear itself: others do not hear it either.
func (o *ordered) fence(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.heard) < o.dead*3/4 {
		return
	}
	for _, l := range o.lanes { // all of them before anything that could wait
		l.revoke()
	}
	for _, l := range o.lanes {
		o.lose(l)
	}
	o.since = now
	clear(o.members)
}
