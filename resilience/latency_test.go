package resilience

import (
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/balance"
)

// A quantile is never below the true one, and at most an eighth (plus the first bucket) above it.
func TestLatencySummaryBoundsTheTrueQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Minute)), 1, 2000).Draw(t, "samples")
		var l Latency
		for _, d := range samples {
			l.Observe(epoch, time.Duration(d), balance.Latency)
		}
		slices.Sort(samples)
		s := l.Summary(epoch)
		if s.Samples != len(samples) {
			t.Fatalf("%d samples, want %d", s.Samples, len(samples))
		}
		check := func(name string, got time.Duration, permille int) {
			rank := (len(samples)*permille + 999) / 1000
			want := time.Duration(samples[rank-1])
			if got < want || got > want+want/8+1<<minOctave {
				t.Fatalf("%s: %v, want %v and a little more", name, got, want)
			}
		}
		check("median", s.Median, 500)
		check("99.9%", s.P999, 999)
	})
}

func TestLatencyForgetsAfterTwoWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Latency
		now := epoch
		var times []time.Time
		t.Repeat(map[string]func(*rapid.T){
			"observe": func(t *rapid.T) {
				for range rapid.IntRange(1, 50).Draw(t, "n") {
					l.Observe(now, time.Millisecond, balance.Latency)
					times = append(times, now)
				}
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(int64(fresh), int64(2*window)).Draw(t, "d")))
			},
			"": func(t *rapid.T) {
				young, all := 0, 0
				for _, at := range times {
					if now.Sub(at) < window {
						young++
					}
					if now.Sub(at) < 2*window {
						all++
					}
				}
				now = now.Add(fresh)
				if got := l.Summary(now).Samples; got > all || got < young-countWithin(times, now.Add(-window), fresh) {
					t.Fatalf("%d samples, want %d to %d", got, young, all)
				}
			},
		})
	})
}

// countWithin counts the times in [from-d, from].
func countWithin(times []time.Time, from time.Time, d time.Duration) int {
	n := 0
	for _, at := range times {
		if !at.After(from) && !at.Before(from.Add(-d)) {
			n++
		}
	}
	return n
}

func TestLatencyCountsTimeoutsAtOnce(t *testing.T) {
	var l Latency
	for range 100 {
		l.Observe(epoch, 10*time.Millisecond, balance.Latency)
	}
	before := l.Summary(epoch).P999
	l.Observe(epoch, time.Second, balance.LowerBound)
	if after := l.Summary(epoch).P999; before > 20*time.Millisecond || after < time.Second {
		t.Errorf("99.9%%: %v before a timeout of 1s, %v after it", before, after)
	}
	l.Observe(epoch, time.Minute, balance.None)
	if s := l.Summary(epoch.Add(fresh)); s.Samples != 101 {
		t.Errorf("%d samples, want 101", s.Samples)
	}
}

// Concurrent use while windows change loses next to nothing and never counts twice.
func TestLatencyIsSafeForConcurrentUse(t *testing.T) {
	var l Latency
	var wg sync.WaitGroup
	const each = 2000
	for g := range 8 {
		wg.Go(func() {
			for i := range each {
				now := epoch.Add(time.Duration(i) * 20 * time.Millisecond) // 40 s: one turn
				l.Observe(now, time.Duration(g)*time.Millisecond, balance.Latency)
				if n := l.Summary(now).Samples; n > 8*each {
					t.Errorf("%d samples of %d", n, 8*each)
				}
			}
		})
	}
	wg.Wait()
}

func TestBucketsAreContiguous(t *testing.T) {
	for i := range buckets - 1 {
		if got := bucket(upper(i) - 1); got != i {
			t.Fatalf("bucket %d: %v is in bucket %d", i, upper(i)-1, got)
		}
		if got := bucket(upper(i)); got != i+1 {
			t.Fatalf("bucket %d: %v is in bucket %d, want the next", i, upper(i), got)
		}
	}
}

func BenchmarkLatency(b *testing.B) {
	var l Latency
	now := time.Now()
	b.ReportAllocs()
	for i := range b.N {
		now = now.Add(time.Microsecond)
		l.Observe(now, time.Duration(i%1000)*time.Microsecond, balance.Latency)
		l.Summary(now)
	}
}
