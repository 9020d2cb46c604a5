package rabbitqueue

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestLanesStay: publishers and consumers of different versions must agree on these.
func TestLanesStay(t *testing.T) {
	for key, want := range map[string]string{"order-1": "5", "order-2": "4", "a": "4", "Zürich": "0", "0": "7"} {
		if got := laneOf(key); got != want {
			t.Errorf("the lane of %q is %s, was %s", key, got, want)
		}
	}
	seen := make(map[string]bool)
	for range 1000 {
		seen[laneOf("")] = true
	}
	if len(seen) != lanes {
		t.Errorf("messages without a key are on %d lanes of %d", len(seen), lanes)
	}
}

func TestNames(t *testing.T) {
	n := names{"holdfast"}
	for got, want := range map[string]string{
		n.topic("orders.placed"):                          "holdfast:orders.placed",
		n.group("orders.placed", "shipping"):              "holdfast:orders.placed:shipping",
		n.lane("orders.placed", "shipping", 7):            "holdfast:orders.placed:shipping:lane-7",
		n.dead("orders.placed", "shipping"):               "holdfast:orders.placed:shipping:dead",
		n.delay("orders.placed", "shipping", time.Second): "holdfast:orders.placed:shipping:delay-1000",
		n.moving("orders.placed", "shipping"):             "holdfast:orders.placed:shipping:moving",
		n.browsing(n.dead("orders.placed", "shipping")):   "holdfast:orders.placed:shipping:dead:browsing",
		n.index(): "holdfast:index",
	} {
		if got != want {
			t.Errorf("%s, was %s", got, want)
		}
	}
	longest := names{strings.Repeat("p", maxPrefix)}
	name := strings.Repeat("n", maxName)
	for _, got := range []string{longest.delay(name, name, delays[len(delays)-1]), longest.browsing(longest.dead(name, name))} {
		if len(got) > 255 {
			t.Errorf("a name of %d bytes; AMQP has 255", len(got))
		}
	}
}

func TestDelayIsLongEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(24*time.Hour)).Draw(t, "d"))
		got := delayFor(d)
		if got < d || got > max(100*time.Millisecond, 4*d) {
			t.Errorf("%v waits %v", d, got)
		}
	})
	if got := delayFor(48 * time.Hour); got != 24*time.Hour {
		t.Errorf("two days wait %v", got)
	}
}

func TestPosition(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 7, time.UTC)
	a, b := position(at), position(at.Add(1))
	if a >= b || strings.ContainsAny(a, " \n") || !buriedAt(a).Equal(at) {
		t.Errorf("%q, %q: buried at %v", a, b, buriedAt(a))
	}
	for _, s := range []string{"", "x", "zzzzzzzzzzzzzzzz-1"} {
		if got := buriedAt(s); !got.IsZero() {
			t.Errorf("%q was buried at %v", s, got)
		}
	}
}

func TestShare(t *testing.T) {
	for n, want := range []int{8, 8, 4, 3, 2, 2, 2, 2, 1, 1} {
		if got := share(n); got != want {
			t.Errorf("one of %d has %d lanes, want %d", n, got, want)
		}
	}
}
