package drill

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
)

func FuzzParseProcessors(f *testing.F) {
	f.Add([]byte("cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3\n"))
	f.Add([]byte("cpu 1 2 3 4 5 6 7\n"))
	f.Add([]byte("cpu 1 2 3 4 5 6 7 -8\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, ok := parseProcessors(text)
		if !ok && p != (processors{}) {
			t.Errorf("%+v of what cannot be read", p)
		}
	})
}

func TestParseProcessors(t *testing.T) {
	for text, want := range map[string]processors{
		"cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3\n": {360, 80},
		"cpu 1 2 3 4 5 6 7 8":                               {36, 8},
		"cpu 1 2 3 4 5 6 7":                                 {}, // a kernel that does not know
		"cpu 1 2 3 4 5 6 7 x":                               {},
		"intr 1 2 3 4 5 6 7 8":                              {},
		"":                                                  {},
	} {
		if got, ok := parseProcessors([]byte(text)); got != want || ok != (want != processors{}) {
			t.Errorf("%q: %+v %v", text, got, ok)
		}
	}
}

// What the host takes is seen, and when it was much.
func TestHostIsWatched(t *testing.T) {
	last := lookEvery + shortest/2 // of the last look
	watch := func(stolen ...uint64) *report.Host {
		var out *report.Host
		synctest.Test(t, func(t *testing.T) {
			began, n := time.Now(), 0
			h := host{look: func() (p processors, ok bool) {
				if n > len(stolen) {
					return p, false
				}
				for _, s := range stolen[:n] {
					p.stolen += s
				}
				p.all = uint64(100 * n)
				n++
				return p, true
			}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(len(stolen)-1)*lookEvery+last)
			defer cancel()
			h.follow(ctx, func() time.Duration { return time.Since(began) })
			out = h.report()
		})
		return out
	}
	if got := watch(4, 4, 4, 4); got != nil {
		t.Errorf("next to nothing was taken: %+v", got)
	}
	if got := watch(49, 49); got == nil || got.Share != 0.49 || got.Most != 0.49 || len(got.Spans) != 0 {
		t.Errorf("half of the time, nearly: %+v", got)
	}
	got := watch(0, 60, 50, 0, 50)
	if got == nil || got.Share != 0.32 || got.Most != 0.6 || len(got.Spans) != 2 ||
		got.Spans[0] != (report.Span{From: lookEvery, To: 3 * lookEvery}) ||
		got.Spans[1] != (report.Span{From: 4 * lookEvery, To: 5 * lookEvery}) {
		t.Errorf("%+v", got)
	}
	// What came since the last look is seen at the end.
	last = shortest
	if got := watch(0, 60); got == nil || got.Share != 0.3 || len(got.Spans) != 1 || got.Spans[0] != (report.Span{From: lookEvery, To: lookEvery + shortest}) {
		t.Errorf("at the end: %+v", got)
	}
	if got := (&host{look: func() (processors, bool) { return processors{}, false }}); got.report() != nil {
		t.Error("nothing is known, and something said")
	}
}

// A host that takes the processors is waited for, as long as there is patience.
func TestAwaitProcessors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		taken []float64 // at each look
		want  float64
		after time.Duration
	}{
		{"quiet", []float64{0.05}, 0.05, 0},
		{"quiet in the end", []float64{0.9, 0.1, 0.09}, 0.09, 20 * time.Second},
		{"never quiet", []float64{0.9, 0.9, 0.8, 0.7, 0.05}, 0.7, 35 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, n := time.Now(), 0
				got := awaitProcessors(t.Context(), 35*time.Second, func() float64 { n++; return tc.taken[n-1] })
				if after := time.Since(began); got != tc.want || after != tc.after {
					t.Errorf("%v after %s, want %v after %s", got, after, tc.want, tc.after)
				}
			})
		})
	}
	stop := WatchProcessors()
	if taken := takenWhenBusy(); taken < 0 || taken > 1 {
		t.Errorf("%v of the processors were taken", taken)
	}
	if h := stop(); h != nil && (h.Share < 0 || h.Share > 1 || h.Most < h.Share) {
		t.Errorf("%+v was taken", h)
	}
}

// A promise about times is not excused by what the host took at another time; what comes of it is felt for a while.
func TestWhatTheHostTookExcusesNothingElse(t *testing.T) {
	for took, want := range map[report.Span]report.Verdict{
		{From: 5 * time.Second, To: 10 * time.Second}:  report.CouldNotRun,
		{From: 2 * time.Second, To: 3 * time.Second}:   report.CouldNotRun,
		{From: 0, To: 900 * time.Millisecond}:          report.UsersNoticed,
		{From: 15 * time.Second, To: 20 * time.Second}: report.UsersNoticed,
	} {
		for name, change := range map[string]func(s *load.Sample){
			"mask": func(s *load.Sample) { s.Outcome = load.Failed },
			"p99":  func(s *load.Sample) { s.Took = 2 * time.Second },
		} {
			samples := steady(20*time.Second, func(s *load.Sample) {
				if s.Due >= 6*time.Second && s.Due < 8*time.Second {
					change(s)
				}
			})
			r := &report.Report{Faults: []report.Fault{{Kind: "kill", Begun: 6 * time.Second}}, Length: 20 * time.Second}
			r.Host = &report.Host{Share: 0.2, Most: 0.5, Spans: []report.Span{took}}
			judge(r, Scenario{For: 20 * time.Second, Expect: Expect{Success: 0.5, Mask: 500 * time.Millisecond, P99: time.Second}}, inject.World{}, samples, 0)
			if r.Verdict() != want || !strings.HasPrefix(strings.Join(r.Reasons(), "\n"), name+" ") {
				t.Errorf("%s was missed, and the host took %+v: %v, %q", name, took, r.Verdict(), r.Reasons())
			}
		}
	}
}

// What was missed while the host gave the processors to others could not be judged; what was missed at another time was missed.
func TestWhatTheHostTook(t *testing.T) {
	drill := func(share float64, failed time.Duration) *report.Report {
		samples := steady(20*time.Second, func(s *load.Sample) {
			if s.Due >= failed && s.Due < failed+100*time.Millisecond {
				s.Outcome = load.Failed
			}
		})
		r := &report.Report{Faults: []report.Fault{{Kind: "kill", Begun: 5 * time.Second}}, Length: 20 * time.Second}
		if share > 0 {
			r.Host = &report.Host{Share: 0.2, Most: share, Spans: []report.Span{{From: 5 * time.Second, To: 10 * time.Second}}}
		}
		judge(r, Scenario{For: 20 * time.Second, Expect: Expect{Success: 0.9999, Mask: time.Second}}, inject.World{}, samples, 0)
		return r
	}
	for _, tc := range []struct {
		name   string
		share  float64
		failed time.Duration
		want   report.Verdict
		says   string
	}{
		{"none", 0, 8 * time.Second, report.UsersNoticed, "success"},
		{"much, and nobody noticed", 0.6, time.Minute, report.NobodyNoticed, ""},
		{"much, and calls failed then", 0.6, 8 * time.Second, report.CouldNotRun, "10 of the 10 calls that failed were under way while the host gave up to 60 %"},
		{"much, and calls failed not long after", 0.6, 14 * time.Second, report.CouldNotRun, "10 of the 10 calls that failed were under way while the host gave up to 60 %"},
		{"much, and calls failed later", 0.6, 16 * time.Second, report.UsersNoticed, "success"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := drill(tc.share, tc.failed)
			if r.Verdict() != tc.want || r.Disturbed() != (tc.want == report.CouldNotRun) || !strings.Contains(strings.Join(r.Reasons(), "\n"), tc.says) {
				t.Errorf("%v: %q", r.Verdict(), r.Reasons())
			}
		})
	}
}
