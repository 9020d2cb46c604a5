package balance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the histories in testdata anew")

// The histories in testdata are the documentation of ejection: what becomes of an instance, call by call where it counts.
func TestHistories(t *testing.T) {
	const from, until = 5 * time.Second, 20 * time.Second
	bad := func(f *fleet) answer { return refused() }
	for _, tt := range []struct {
		name, about string
		n           int
		sick        func(f *fleet, at time.Duration) answer
		run         time.Duration
	}{
		{"killed", "One of three instances refuses every call from 5 s to 20 s.", 3, func(f *fleet, at time.Duration) answer {
			if at >= from && at < until {
				return bad(f)
			}
			return f.good(5 * time.Millisecond)
		}, 40 * time.Second},
		{"flapping", "One of three instances refuses every call for 5 s, is well for 5 s, and so on. Each time it takes more good answers until it is back.", 3, func(f *fleet, at time.Duration) answer {
			if at >= from && at/(5*time.Second)%2 == 1 {
				return bad(f)
			}
			return f.good(5 * time.Millisecond)
		}, 60 * time.Second},
		{"half", "One of three instances answers every second call with INTERNAL from 5 s to 20 s.", 3, func(f *fleet, at time.Duration) answer {
			if at >= from && at < until && f.rnd.IntN(2) == 0 {
				return answer{time.Millisecond, Suspicious, Latency}
			}
			return f.good(5 * time.Millisecond)
		}, 50 * time.Second},
		{"alone", "The only instance refuses every call from 5 s to 20 s. It is not ejected.", 1, func(f *fleet, at time.Duration) answer {
			if at >= from && at < until {
				return bad(f)
			}
			return f.good(5 * time.Millisecond)
		}, 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(1, Config{}, tt.n)
			f.rate = 100
			var out strings.Builder
			fmt.Fprintf(&out, "# %s\n# 100 calls a second. Per second: the calls that went there, and how many of them failed.\n\n", tt.about)
			failed, told := 0, 0
			f.answer = func(node int, at time.Duration) answer {
				if node != 0 {
					return f.good(5 * time.Millisecond)
				}
				a := tt.sick(f, at)
				if a.health != Good {
					failed++
				}
				if f.nodes[0].ejected.Load() {
					fmt.Fprintf(&out, "%7.3f s  probe: %s\n", at.Seconds(), map[Health]string{Good: "good", Bad: "refused", Suspicious: "INTERNAL"}[a.health])
				}
				return a
			}
			for at := time.Duration(0); at < tt.run; at += time.Second {
				failed = 0
				f.run(time.Second)
				for _, e := range f.events[told:] {
					what := "re-admitted after " + e.Out.Round(time.Millisecond).String()
					if e.Ejected {
						what = fmt.Sprintf("ejected (%d)", e.Times)
					}
					fmt.Fprintf(&out, "%7.3f s  %s: %s\n", e.At.Sub(epoch).Seconds(), what, e.Reason)
				}
				told = len(f.events)
				fmt.Fprintf(&out, "%3.0f s      %d calls, %d failed\n", f.now.Seconds(), f.tell(at, at+time.Second).to[0], failed)
			}
			golden(t, filepath.Join("testdata", tt.name+".txt"), out.String())
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs; if that is as it should be, run go test ./balance -update. Now:\n%s", path, got)
	}
}
