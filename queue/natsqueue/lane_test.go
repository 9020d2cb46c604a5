package natsqueue

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// However many members there are and whatever they have, following plan they end with all lanes taken and nobody more than
// one ahead of anybody else, and then change nothing.
func TestPlanSpreadsLanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := rapid.IntRange(1, maxLanes).Draw(t, "lanes")
		have := make([]int, rapid.IntRange(1, 80).Draw(t, "members"))
		free := lanes
		for i := range have {
			have[i] = rapid.IntRange(0, free).Draw(t, "has")
			free -= have[i]
		}
		for round := 0; ; round++ {
			changed := false
			for i := range have {
				others := append(append([]int(nil), have[:i]...), have[i+1:]...)
				give, take := plan(lanes, have[i], others)
				if give > 0 && take > 0 || give > have[i] {
					t.Fatalf("member with %d of %d lanes beside %v gives %d, takes %d", have[i], lanes, others, give, take)
				}
				take = min(take, free)
				changed = changed || give > 0 || take > 0
				have[i] += take - give
				free += give - take
			}
			if !changed {
				break
			}
			if round > 10*maxLanes {
				t.Fatalf("no end: %v", have)
			}
		}
		least, most := lanes, 0
		for _, n := range have {
			least, most = min(least, n), max(most, n)
		}
		if free > 0 || most-least > 1 {
			t.Fatalf("%d lanes are free, and members have %v", free, have)
		}
	})
}

// Whatever order messages are settled in and whenever the owner is lost, the next one gets what was not settled in a
// record that was written, in its order, and nothing that was.
func TestALaneIsGoneOnWith(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var all []uint64 // of the lane, in a stream that has others
		n := uint64(0)
		for range rapid.IntRange(1, 60).Draw(t, "messages") {
			n += 1 + rng.Uint64N(3)
			all = append(all, n)
		}
		written := make(map[uint64]bool)
		rec := record{}
		for owner := range rapid.IntRange(1, 6).Draw(t, "owners") {
			b, _ := json.Marshal(claim(rec, string(rune('a'+owner))))
			l := takeLane(0, parseRecord(b), 1)
			last := uint64(0)
			for _, seq := range all {
				if seq <= l.last {
					continue
				}
				if !l.fetched(seq) {
					if !written[seq] {
						t.Fatalf("%d is left out and was not settled", seq)
					}
					continue
				}
				if written[seq] || seq < last {
					t.Fatalf("%d comes again, or after %d", seq, last)
				}
				last = seq
				l.give(given{seq: seq, message: &driver.Message{}})
				if rng.IntN(8) == 0 {
					break
				}
			}
			for seq := range maps.Clone(l.held) {
				switch rng.IntN(3) {
				case 0:
					l.settle(seq)
				case 1:
					l.takeBack(seq, time.Time{})
				}
			}
			if rng.IntN(2) == 0 { // written before it is lost
				for _, seq := range all {
					if seq <= l.last && (l.settled[seq] || seq <= l.floor()) {
						written[seq] = true
					}
				}
				rec = l.next("")
			}
			for _, seq := range all {
				if seq <= rec.Floor && !written[seq] {
					t.Fatalf("the floor %d is beyond %d, which is not settled", rec.Floor, seq)
				}
			}
		}
	})
}

// However much of a lane is settled beyond a message that is not, the next owner gets that one, and then what is behind.
func TestAStuckMessageIsGivenToTheNextOwner(t *testing.T) {
	for _, window := range []int{128, 2 * maxAhead} {
		l := takeLane(0, record{}, 1)
		last := uint64(0)
		for l.ready() { // 5 is stuck, the others are settled when the window is full
			for ; l.ready() && len(l.held) < window; last++ {
				l.fetched(last + 1)
				l.give(given{seq: last + 1, message: &driver.Message{}})
			}
			for seq := range maps.Clone(l.held) {
				if seq != 5 {
					l.settle(seq)
				}
			}
		}
		b, err := json.Marshal(l.next(""))
		if err != nil || len(b) > maxRecord {
			t.Fatalf("a window of %d: a record of %d bytes, %v", window, len(b), err)
		}
		l = takeLane(0, parseRecord(b), 2)
		var got []uint64
		for seq := uint64(5); seq <= last+3; seq++ { // 1 to 4 are below the floor
			if !l.ready() {
				t.Fatalf("a window of %d: not ready for %d", window, seq)
			}
			if l.fetched(seq) {
				l.give(given{seq: seq, message: &driver.Message{}})
				l.settle(seq)
				got = append(got, seq)
			}
		}
		if want := []uint64{5, last + 1, last + 2, last + 3}; !slices.Equal(got, want) {
			t.Errorf("a window of %d: got %v, want %v", window, got, want)
		}
	}
}

// A message that kills whoever gets it is given out alone after a while, and its count grows; others are not blamed.
func TestAMessageThatKillsIsCounted(t *testing.T) {
	rec := record{}
	for death := range 10 {
		rec = claim(rec, string(rune('a'+death)))
		l := takeLane(0, rec, 1)
		l.fetched(5)
		l.fetched(6)
		d := l.give(given{seq: 5, message: &driver.Message{}})
		if d.Count != 1+death {
			t.Errorf("after %d deaths the count is %d", death, d.Count)
		}
		if alone := !l.ready(); alone != (death >= careful) {
			t.Errorf("after %d deaths, alone: %v", death, alone)
		}
	}
	l := takeLane(0, rec, 1)
	l.fetched(5)
	l.give(given{seq: 5, message: &driver.Message{}})
	l.settle(5)
	if rec = l.next("x"); rec.Deaths != 0 || rec.Floor != 5 {
		t.Errorf("after it was settled: %+v", rec)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"owner":"a","floor":7,"above":[1,2],"deaths":3,"stream":1,"nonce":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := parseRecord(b)
		above := r.above()
		if len(above) != len(r.Above) {
			t.Errorf("%d of %d are different", len(above), len(r.Above))
		}
		again := r
		again.setAbove(above)
		if !maps.Equal(again.above(), above) {
			t.Errorf("%v became %v", above, again.above())
		}
	})
}

// What servers answer to a message that they took is read without json.Unmarshal; all else is left to that.
func TestQuickAck(t *testing.T) {
	for ack, want := range map[string]uint64{
		`{"stream":"S","seq":17}`:                                       17,
		`{"stream":"S","seq":17,"duplicate": true}`:                     17,
		`{"stream":"S","seq":18446744073709551615}`:                     0,
		`{"stream":"S","seq":}`:                                         0,
		`{"stream":"","seq":17}`:                                        0,
		`{"stream":"S","domain":"d","seq":17}`:                          0,
		`{"stream":"S","seq":17,"seq":18}`:                              0,
		`{"stream":"S\u0053","seq":17}`:                                 0,
		`{"stream":"S","seq":17,"error":{"code":503,"description":""}}`: 0,
	} {
		if got, ok := quickAck([]byte(ack)); got != want && ok || ok != (want > 0) {
			t.Errorf("%s: got %d, %v", ack, got, ok)
		}
	}
}

func FuzzAck(f *testing.F) {
	f.Add([]byte(`{"stream":"S","seq":17}`))
	f.Add([]byte(`{"stream":"S","seq":17,"duplicate": true}`))
	f.Add([]byte(`{"stream":"S","seq":7,"":"","seq":1,"": true}`))
	f.Add([]byte(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"S","seq":0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		seq, ok := quickAck(b)
		if !ok {
			return
		}
		var a pubAck
		if json.Unmarshal(b, &a) == nil && (a.Error != nil || a.Seq != seq || a.Stream == "") {
			t.Errorf("%q was read as %d", b, seq)
		}
	})
}
