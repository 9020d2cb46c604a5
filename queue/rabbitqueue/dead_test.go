package rabbitqueue

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// TestPagesShowEveryLetterOnce, oldest first, though the queue is not quite in the order of the positions and letters are
// removed between the pages.
func TestPagesShowEveryLetterOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, limit := rapid.IntRange(0, 300).Draw(t, "n"), rapid.IntRange(1, 50).Draw(t, "limit")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)) //nolint:gosec // a test's
		var queue []string
		for i := range n {
			queue = append(queue, position(time.Unix(int64(i), 0)))
		}
		all := slices.Clone(queue)
		for i := range queue { // clocks differ a little
			j := min(i+random.IntN(5), len(queue)-1)
			queue[i], queue[j] = queue[j], queue[i]
		}
		var shown []string
		for after := ""; ; {
			p := page{after: after, limit: limit}
			for _, pos := range queue {
				if !p.add(driver.Dead{Position: pos}) {
					break
				}
			}
			letters := p.letters()
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
