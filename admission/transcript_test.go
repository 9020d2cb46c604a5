package admission

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata anew")

// The transcript is what a limiter does when the load of a server of twenty workers goes from half of what it can do to
// twice, and back.
func TestTranscript(t *testing.T) {
	var b strings.Builder
	b.WriteString("# 20 workers, 20 ms of work, deadline 250 ms; 500 calls/s, from 1 s to 4 s 2000\n")
	b.WriteString("#  time  phase   limit  in progress  waiting  pressed   shed  late\n")
	w := twenty()
	w.rate, w.length = step(500, 2000, 500, time.Second, 4*time.Second), 7*time.Second
	w.trace = func(at time.Duration, w *world) {
		if at < 900*ms || at > 2*time.Second && at%(500*ms) != 0 {
			return
		}
		c, limit := w.core, "-"
		if c.limiter.phase != open {
			limit = fmt.Sprintf("%.0f", c.limiter.limit)
		}
		fmt.Fprintf(&b, "%7v  %-6v  %5s  %11d  %7d  %-7v  %5d  %4d\n",
			at, c.limiter.phase, limit, c.inFlight, c.queue.n, c.pressed, c.stats.Shed, c.stats.Late)
	}
	w.run(1)
	const file = "testdata/overload.txt"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s has changed (-update writes it anew):\n%s", file, b.String())
	}
}
