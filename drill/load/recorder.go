package load

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"
)

// MaxSamples bounds what a Recorder keeps. What is beyond is counted, and not kept.
const MaxSamples = 2_000_000

// Recorder keeps what became of each call, and has the clock that all times of a drill are in. The zero value is ready. Safe
// for concurrent use.
type Recorder struct {
	once  sync.Once
	start time.Time

	mu      sync.Mutex
	samples []Sample
	tally   Tally
}

// Tally counts calls.
type Tally struct {
	OK, Failed, Refused int
	Dropped             int           // counted above, and not kept: beyond MaxSamples
	HeldUp              time.Duration // how long this process did not get to run, at most
	LastFailed          string        // the error of the last one that failed
}

// Start starts the clock, the first time. [Load.Run] does so.
func (r *Recorder) Start() { r.once.Do(func() { r.start = time.Now() }) }

// Began returns when the clock was started.
func (r *Recorder) Began() time.Time {
	r.Start()
	return r.start
}

// Now returns the time since the start.
func (r *Recorder) Now() time.Duration { return time.Since(r.Began()) }

// Add counts and keeps a sample.
func (r *Recorder) Add(s Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch s.Outcome {
	case OK:
		r.tally.OK++
	case Refused:
		r.tally.Refused++
	case Failed:
		r.tally.Failed++
		r.tally.LastFailed = s.Call + ": " + s.Error
	}
	r.tally.HeldUp = max(r.tally.HeldUp, s.Late)
	if len(r.samples) >= MaxSamples {
		r.tally.Dropped++
		return
	}
	r.samples = append(r.samples, s)
}

// heldUp notes that this process did not get to run for so long.
func (r *Recorder) heldUp(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tally.HeldUp = max(r.tally.HeldUp, d)
}

// Tally returns the counts until now.
func (r *Recorder) Tally() Tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tally
}

// Samples returns a copy of what was kept, in the order in which the calls were due. The maps in them are shared.
func (r *Recorder) Samples() []Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.samples)
	slices.SortStableFunc(out, func(a, b Sample) int { return cmp.Compare(a.Due, b.Due) })
	return out
}

// Write writes the samples, a line of JSON each, in the order in which the calls were due.
func (r *Recorder) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	e := json.NewEncoder(b)
	for _, s := range r.Samples() {
		if err := e.Encode(s); err != nil {
			return err
		}
	}
	return b.Flush()
}
