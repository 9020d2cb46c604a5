package rabbitqueue

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// pageOf is what look has of a queue of letters.
func pageOf(queue []string, after string, limit int) []driver.Dead {
	p := page{after: after, limit: limit}
	for _, pos := range queue {
		if _, more := p.visit(&amqp.Delivery{Headers: amqp.Table{headerPosition: pos}}); !more {
			break
		}
	}
	return p.found
}

// TestLettersFromTheFutureHideNone: who buried 200 of them had a clock an hour ahead, or it was set back since.
func TestLettersFromTheFutureHideNone(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var queue []string
	for i := range 200 {
		queue = append(queue, position(now.Add(time.Hour+time.Duration(i)*time.Second)))
	}
	for i := range 50 {
		queue = append(queue, position(now.Add(time.Duration(i)*time.Second)))
	}
	all := slices.Sorted(slices.Values(queue))
	for _, limit := range []int{1, 7, 50, 249, 250, 1000} {
		var shown []string
		for after := ""; len(shown) <= len(all); after = shown[len(shown)-1] {
			letters := pageOf(queue, after, limit)
			if len(letters) > limit {
				t.Fatalf("a page of %d has %d", limit, len(letters))
			}
			if len(letters) == 0 {
				break
			}
			for _, l := range letters {
				shown = append(shown, l.Position)
			}
		}
		if !slices.Equal(shown, all) {
			t.Errorf("in pages of %d, %d of %d letters were shown", limit, len(shown), len(all))
		}
	}
}

// TestAPageOfLargeLettersIsNotAllOfThem: somebody waits for it. What it has is what comes first in the queue.
func TestAPageOfLargeLettersIsNotAllOfThem(t *testing.T) {
	body := make([]byte, sorted/100)
	queue := make([]string, 1000)
	for i := range queue {
		queue[i] = position(time.Unix(int64(i+1), 0))
	}
	for first, reads := range map[int]int{0: 101, 500: 511} {
		p, read := page{limit: 10}, 0
		if first > 0 {
			p.after = queue[first-1]
		}
		for more := true; more && read < len(queue); read++ {
			_, more = p.visit(&amqp.Delivery{Body: body, Headers: amqp.Table{headerPosition: queue[read]}})
		}
		if read != reads {
			t.Errorf("from %d on: %d were read, want %d", first, read, reads)
		}
		if len(p.found) != 10 || p.found[0].Position != queue[first] || p.found[9].Position != queue[first+9] {
			t.Errorf("from %d on: %d, %v", first, len(p.found), p.found)
		}
	}
}

// TestLettersWithoutPositionsComeFirst, in the order of the queue: somebody else put them there.
func TestLettersWithoutPositionsComeFirst(t *testing.T) {
	p := page{limit: 3}
	p.visit(&amqp.Delivery{MessageId: "a", Headers: amqp.Table{headerPosition: position(time.Unix(1, 0))}})
	for _, id := range []string{"b", "c", "d", "e"} {
		p.visit(&amqp.Delivery{MessageId: id})
	}
	var ids []string
	for _, l := range p.found {
		ids = append(ids, l.Message.ID)
	}
	if !slices.Equal(ids, []string{"b", "c", "d"}) {
		t.Errorf("shown are %q", ids)
	}
}

// TestPagesShowEveryLetterOnce, oldest first, though the queue is not in the order of the positions, or not quite, and letters are
// removed between the pages.
func TestPagesShowEveryLetterOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, limit := rapid.IntRange(0, 300).Draw(t, "n"), rapid.IntRange(1, 50).Draw(t, "limit")
		spread := rapid.SampledFrom([]int{5, 300}).Draw(t, "spread")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)) //nolint:gosec // a test's
		var queue []string
		for i := range n {
			queue = append(queue, position(time.Unix(int64(i), 0)))
		}
		all := slices.Clone(queue)
		for i := range queue { // clocks differ
			j := min(i+random.IntN(spread), len(queue)-1)
			queue[i], queue[j] = queue[j], queue[i]
		}
		var shown []string
		for after := ""; ; {
			letters := pageOf(queue, after, limit)
			if len(letters) == 0 {
				break
			}
			for _, l := range letters {
				shown = append(shown, l.Position)
				if random.IntN(2) == 0 {
					queue = slices.DeleteFunc(queue, func(s string) bool { return s == l.Position })
				}
			}
			after = letters[len(letters)-1].Position
		}
		if !slices.Equal(shown, all) {
			t.Fatalf("%d of %d letters were shown", len(shown), len(all))
		}
	})
}
