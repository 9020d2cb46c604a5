package netns

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func ms(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }

// half draws the middle, always.
func half() float64 { return 0.5 }

func linkWith(rules ...Rule) *link {
	var e effect
	for _, r := range rules {
		e.add(r, epoch)
	}
	var l link
	l.set(e, epoch)
	return &l
}

func TestLinkTimes(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules []Rule
		sent  []int // ms
		size  int
		want  []int // ms; -1 is lost
	}{
		{"nothing", nil, []int{0, 5}, 100, []int{0, 5}},
		{"cut", []Rule{{Cut: true}}, []int{0, 5}, 100, []int{-1, -1}},
		{"delay", []Rule{{Delay: 10 * time.Millisecond}}, []int{0, 5}, 100, []int{10, 15}},
		{"jitter is drawn and added", []Rule{{Delay: 10 * time.Millisecond, Jitter: 20 * time.Millisecond}}, []int{0}, 100, []int{20}},
		{"rate: one after the other", []Rule{{Rate: 1000}}, []int{0, 0, 500}, 100, []int{100, 200, 600}},
		{"rate, then delay", []Rule{{Rate: 1000, Delay: time.Second}}, []int{0, 0}, 100, []int{1100, 1200}},
		{"rate: what has no room", []Rule{{Rate: 1000}}, []int{0, 0}, 40_000, []int{40_000, -1}},
		{
			"rules add up",
			[]Rule{{Delay: 10 * time.Millisecond}, {Delay: 5 * time.Millisecond, Rate: 2000}, {Rate: 1000}},
			[]int{0},
			100,
			[]int{115},
		},
		{"one that loses half keeps what draws below", []Rule{{Loss: 0.4}}, []int{0}, 100, []int{0}},
		{"two that lose less than half each, together more", []Rule{{Loss: 0.4}, {Loss: 0.4}}, []int{0}, 100, []int{-1}},
		{"all is lost", []Rule{{Loss: 1}}, []int{0}, 100, []int{-1}},
	} {
		l := linkWith(c.rules...)
		for i, sent := range c.sent {
			at, fate := l.take(ms(sent), packet{}, c.size, half)
			if fate == arrives {
				l.held += c.size
			}
			switch {
			case c.want[i] < 0 && fate != lost:
				t.Errorf("%s: packet %d arrives at %s", c.name, i, at)
			case c.want[i] >= 0 && (fate != arrives || !at.Equal(ms(c.want[i]))):
				t.Errorf("%s: packet %d: %v at %s, not %d ms", c.name, i, fate, at.Sub(epoch), c.want[i])
			}
		}
	}
}

// A connection that was there before a reset is ended, one that was made after it is left alone, until the next.
func TestLinkResets(t *testing.T) {
	l := linkWith(Rule{Reset: true, ResetEvery: time.Second})
	old, young := flow{1, 80}, flow{2, 80}
	step := func(at int, f flow, flags byte, want fate) {
		t.Helper()
		if _, got := l.take(ms(at), parsed(t, segment(left, right, f, 0, 0, flags, 0)), 40, half); got != want {
			t.Errorf("at %d ms %v, %x: %v, not %v", at, f, flags, got, want)
		}
	}
	step(10, old, flagACK, aborted)
	step(20, young, flagSYN, arrives)
	step(30, young, flagACK, arrives)
	step(40, old, flagACK, aborted) // whoever does not listen hears it again
	step(50, old, flagRST, arrives) // what says so itself needs not be told
	step(1010, young, flagACK, aborted)
	l.set(effect{}, ms(1020))
	step(1030, old, flagACK, arrives)
}

func TestLinkRefuses(t *testing.T) {
	l := linkWith(Rule{Refuse: true})
	for flags, want := range map[byte]fate{flagSYN: refused, flagSYN | flagACK: arrives, flagACK: arrives} {
		if _, got := l.take(epoch, parsed(t, segment(left, right, flow{1, 80}, 0, 0, flags, 0)), 40, half); got != want {
			t.Errorf("%x: %v, not %v", flags, got, want)
		}
	}
	if _, got := l.take(epoch, packet{}, 40, half); got != lost {
		t.Errorf("what is not TCP: %v", got)
	}
}

// Whatever the rules, however they change: packets keep their order, none arrives before it was sent, nor later than its
// wait, the delay and the jitter, and no more than there is room for is on its way.
func TestLinkKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type inFlight struct {
			at   time.Time
			size int
		}
		var l link
		var way []inFlight
		now, rnd := epoch, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		last := epoch
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "pause")) * time.Millisecond)
			for len(way) > 0 && !way[0].at.After(now) {
				if way[0].at.Before(last) {
					t.Fatalf("one arrives at %s, after one at %s", way[0].at, last)
				}
				last = way[0].at
				l.held -= way[0].size
				way = way[1:]
			}
			if rapid.IntRange(0, 9).Draw(t, "change") == 0 {
				var e effect
				e.add(Rule{
					Delay:  time.Duration(rapid.IntRange(0, 100).Draw(t, "delay")) * time.Millisecond,
					Jitter: time.Duration(rapid.IntRange(0, 100).Draw(t, "jitter")) * time.Millisecond,
					Rate:   rapid.SampledFrom([]int64{0, 10_000, 1_000_000}).Draw(t, "rate"),
					Loss:   rapid.SampledFrom([]float64{0, 0.1}).Draw(t, "loss"),
				}, now)
				l.set(e, now)
				before := now
				for i := range way {
					way[i].at = l.hurry(now, way[i].at)
					if way[i].at.Before(before) || way[i].at.After(now.Add(e.delay)) {
						t.Fatalf("hurried to %s at %s, after %s", way[i].at, now, before)
					}
					before = way[i].at
				}
				continue
			}
			size := rapid.IntRange(20, MaxPacket).Draw(t, "size")
			at, fate := l.take(now, packet{}, size, rnd.Float64)
			if fate != arrives {
				continue
			}
			l.held += size
			if l.held > l.room() {
				t.Fatalf("%d bytes on their way, and room for %d", l.held, l.room())
			}
			if at.Before(now) || len(way) > 0 && at.Before(way[len(way)-1].at) {
				t.Fatalf("sent at %s, arrives at %s", now, at)
			}
			way = append(way, inFlight{at, size})
		}
	})
}
