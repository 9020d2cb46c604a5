package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/failure"
)

func constant(rate float64, d time.Duration) []load.Step {
	return []load.Step{{For: d, From: rate, To: rate}}
}

// offer offers a mix to a handler.
func offer(t *testing.T, ctx context.Context, h handler, mix load.Mix) (*load.Recorder, []load.Sample) { //nolint:revive // t first
	t.Helper()
	l, err := load.New(ctx, mix, caller(t, h))
	if err != nil {
		t.Fatal(err)
	}
	rec := new(load.Recorder)
	l.Run(ctx, rec)
	return rec, rec.Samples()
}

func fine(http.ResponseWriter, *http.Request) {}

func TestLoadDoesNotWaitForAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := func(took time.Duration) []load.Sample {
			_, out := offer(t, t.Context(), func(http.ResponseWriter, *http.Request) { <-time.After(took) }, load.Mix{
				Steps: constant(200, 10*time.Second), Seed: 1, Vars: map[string]string{"who": "{{int 1 9}}"},
				Calls: []load.Call{{Name: "a", Weight: 1, Path: "/{{.who}}"}, {Name: "b", Weight: 3, Path: "/{{int 1 5}}"}, {Name: "none", Path: "/"}},
			})
			return out
		}
		fast, slow := run(0), run(3*time.Second)
		if n := len(fast); math.Abs(float64(n)-2000) > 180 { // 4 standard deviations
			t.Errorf("%d calls in 10 s at 200 a second", n)
		}
		b := slices.DeleteFunc(slices.Clone(fast), func(s load.Sample) bool { return s.Call != "b" })
		if share := float64(len(b)) / float64(len(fast)); math.Abs(share-0.75) > 0.05 {
			t.Errorf("a share of %v is of the call that has three in four", share)
		}
		same := slices.EqualFunc(fast, slow, func(a, b load.Sample) bool {
			return a.Due == b.Due && a.Call == b.Call && a.Vars["who"] == b.Vars["who"]
		})
		if !same {
			t.Error("slow answers change what is called, or when")
		}
		for _, s := range slow {
			if s.Took != 3*time.Second || s.Late != 0 {
				t.Fatalf("a call of 3 s: %+v", s)
			}
		}
	})
}

// The number of calls of each step is what its rate comes to, ramps and silence included.
func TestTheRateIsWhatTheStepsSay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) load.Step {
			return load.Step{
				For:  time.Duration(rapid.IntRange(1, 5000).Draw(rt, "ms")) * time.Millisecond,
				From: float64(rapid.SampledFrom([]int{0, 1, 50, 300}).Draw(rt, "from")), To: float64(rapid.SampledFrom([]int{0, 1, 50, 300}).Draw(rt, "to")),
			}
		}), 1, 4).Draw(rt, "steps")
		mix := load.Mix{Steps: steps, Seed: rapid.Uint64().Draw(rt, "seed"), Calls: []load.Call{{Name: "a", Weight: 1, Path: "/"}}}
		synctest.Test(t, func(t *testing.T) {
			rec, samples := offer(t, t.Context(), fine, mix)
			begin := time.Duration(0)
			for _, s := range steps {
				want, n := (s.From+s.To)/2*s.For.Seconds(), 0.0
				for _, x := range samples {
					if x.Due >= begin && x.Due < begin+s.For {
						n++
					}
				}
				if math.Abs(n-want) > 5*math.Sqrt(want)+5 {
					t.Errorf("%v calls in %+v of %+v, not %v", n, s, steps, want)
				}
				begin += s.For
			}
			if rec.Now() != mix.Length() {
				t.Errorf("it lasted %v, not %v", rec.Now(), mix.Length())
			}
		})
	})
}

func TestWhatWasDueWhileNothingRanIsLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var first atomic.Bool
		_, samples := offer(t, t.Context(), func(http.ResponseWriter, *http.Request) {
			if first.CompareAndSwap(false, true) {
				<-time.After(5 * time.Second)
			}
		}, load.Mix{Steps: constant(20, 4*time.Second), Calls: []load.Call{{Name: "a", Weight: 1, Path: "/"}}})
		if samples[0].Took != 5*time.Second {
			t.Errorf("the first took %v", samples[0].Took)
		}
		if last := samples[len(samples)-1]; last.Took != 0 {
			t.Errorf("the others waited for the first: %+v", last)
		}
	})
}

func TestSomeCallTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := make(map[string]int)
		_, samples := offer(t, t.Context(), func(_ http.ResponseWriter, r *http.Request) { keys[r.Header.Get("Idempotency-Key")]++ },
			load.Mix{Steps: constant(100, 10*time.Second), Calls: []load.Call{{Name: "a", Weight: 1, Path: "/", Key: "{{uuid}}", Again: 0.2}}})
		twice, again := 0, 0
		for _, n := range keys {
			if n == 2 {
				twice++
			}
		}
		for _, s := range samples {
			if s.Again {
				again++
			}
		}
		if share := float64(twice) / float64(len(keys)); math.Abs(share-0.2) > 0.06 || twice != again {
			t.Errorf("%d of %d keys came twice, in %d samples that say so", twice, len(keys), again)
		}
	})
}

func TestTheEndOfItsContextEndsLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		rec, samples := offer(t, ctx, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
				_, _ = io.WriteString(w, "done")
			}
		}, load.Mix{Steps: constant(50, time.Hour), Calls: []load.Call{{Name: "a", Weight: 1, Path: "/"}}})
		if rec.Now() != 2*time.Second {
			t.Errorf("it ended at %v", rec.Now())
		}
		for _, s := range samples {
			if s.Outcome != load.OK {
				t.Fatalf("a call that ended with the load counts: %+v", s)
			}
		}
		if n := len(samples); n < 30 || n > 70 {
			t.Errorf("%d calls were answered within the first second", n)
		}
	})
}

func TestVariablesMayUseOneAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, samples := offer(t, t.Context(), fine, load.Mix{
			Steps: constant(50, time.Second), Vars: map[string]string{"a": "{{.b}}!", "b": "{{.c}}{{.c}}", "c": "{{int 1 3}}", "unused": "{{uuid}}"},
			Calls: []load.Call{{Name: "x", Weight: 1, Path: "/{{.a}}/{{.c}}"}},
		})
		for _, s := range samples {
			c := s.Vars["c"]
			if s.Vars["a"] != c+c+"!" || s.Vars["b"] != c+c || len(s.Vars) != 3 {
				t.Fatalf("%v", s.Vars)
			}
		}
	})
}

func TestWhatIsWrongWithAMixIsSaid(t *testing.T) {
	t.Parallel()
	_, err := load.New(t.Context(), load.Mix{
		Steps: []load.Step{{For: time.Second, From: -1, To: math.NaN()}, {For: 48 * time.Hour}},
		Vars:  map[string]string{"a": "{{.b}}", "b": "{{.a}}", "1": "x", "c": "{{"},
		Calls: []load.Call{{Name: "x", Weight: math.Inf(1), Path: "/"}, {Name: "y", Again: 2, Path: "/{{.nobody}}"}},
	}, caller(t, fine))
	if !errors.Is(err, failure.InvalidArgument) {
		t.Fatal(err)
	}
	for _, want := range []string{"a rate is", "48h0m1s", "[a b] use what is not known, or one another", "1: it is no name", "c: {{ without }}", "x: a weight", "y: a weight", "{{.nobody}} is not known"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
	if _, err := load.New(t.Context(), load.Mix{}, caller(t, fine)); !errors.Is(err, failure.InvalidArgument) {
		t.Errorf("nothing at all: %v", err)
	}
}

func TestTheRecordIsWritten(t *testing.T) {
	t.Parallel()
	var rec load.Recorder
	rec.Add(load.Sample{Call: "b", Due: 2, Outcome: load.Failed, Error: "no"})
	rec.Add(load.Sample{Call: "a", Due: 1, Outcome: load.OK, Late: time.Second, Kept: map[string]string{"id": "1"}})
	rec.Add(load.Sample{Call: "a", Due: 3, Outcome: load.Refused})
	if got, want := rec.Tally(), (load.Tally{OK: 1, Failed: 1, Refused: 1, HeldUp: time.Second, LastFailed: "b: no"}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	var out bytes.Buffer
	if err := rec.Write(&out); err != nil {
		t.Fatal(err)
	}
	var due []time.Duration
	for line := range strings.Lines(out.String()) {
		var s load.Sample
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		due = append(due, s.Due)
	}
	if !slices.Equal(due, []time.Duration{1, 2, 3}) {
		t.Errorf("in the order %v", due)
	}
}
