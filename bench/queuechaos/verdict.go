package main

import (
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

// verdict is what has come of the messages.
type verdict struct {
	messages           int // that were to be published
	confirmed, refused int // publications
	lost               int // confirmed and without effect
	examples           []string
	unasked            int // effects of messages that nobody was told are taken: they may have been
	twice              int // effects that a message had beyond its first
	disorder           int // first effects after that of a later message of the key
	late               []overtaken
	deliveries, again  int
	dead, waiting      int           // at the engine, in the end
	longest            time.Duration // between two effects, or until the first
	oldest             time.Duration // from a message's confirmation to its effect
	oldestID           string
	slowest            time.Duration // publication that was confirmed
	took               time.Duration // from the first effect to the last
}

// overtaken is an effect that came after that of a later message of its key.
type overtaken struct{ it, by happened }

// judge compares what publishers were told with the effects, in the order in which these were written.
func judge(all []published, effects []happened, delivered map[string]int) verdict {
	var v verdict
	type id struct{ key, seq int }
	had, last := map[id]int{}, map[int]happened{}
	times, effected := make([]time.Time, len(effects)), map[id]time.Time{}
	for i, e := range effects {
		times[i] = e.at
		this := id{e.payload.Key, e.payload.Seq}
		if had[this]++; had[this] > 1 {
			v.twice++
			continue
		}
		effected[this] = e.at
		if before := last[this.key]; before.payload.Seq > this.seq {
			v.disorder++
			if len(v.late) < 100 {
				v.late = append(v.late, overtaken{e, before})
			}
			continue
		}
		last[this.key] = e
	}
	confirmed := map[id]bool{}
	var first time.Time
	for _, p := range all {
		if p.Code != "" {
			v.refused++
			continue
		}
		this := id{p.Payload.Key, p.Payload.Seq}
		if confirmed[this] = true; first.IsZero() || p.At.Before(first) {
			first = p.At
		}
		v.slowest = max(v.slowest, p.Took)
		if at, ok := effected[this]; ok && at.Sub(p.At) > v.oldest {
			v.oldest, v.oldestID = at.Sub(p.At), p.Payload.id()
		}
		if had[this] == 0 {
			if v.lost++; len(v.examples) < 10 {
				v.examples = append(v.examples, p.Payload.id())
			}
		}
	}
	v.confirmed = len(confirmed)
	for this := range had {
		if !confirmed[this] {
			v.unasked++
		}
	}
	for _, n := range delivered {
		v.deliveries += n
		v.again += n - 1
	}
	slices.SortFunc(times, time.Time.Compare)
	if len(times) > 0 {
		v.longest = times[0].Sub(first) // until the first
	}
	for i := 1; i < len(times); i++ {
		v.longest = max(v.longest, times[i].Sub(times[i-1]))
	}
	if n := len(times); n > 0 {
		v.took = times[n-1].Sub(times[0])
	}
	return v
}

// tried returns how many messages somebody has tried to publish.
func tried(all []published) int {
	ids := map[payload]bool{}
	for _, p := range all {
		ids[p.Payload] = true
	}
	return len(ids)
}

func (v verdict) report(r *trial.Run) {
	never := trial.AtMost(0).Always()
	show := trial.Promise{}
	r.Add("messages confirmed to publishers", float64(v.confirmed), trial.Count, trial.AtLeast(float64(v.messages)).Always())
	r.Add("of these lost", float64(v.lost), trial.Count, never)
	r.Add("dead letters", float64(v.dead), trial.Count, never)
	r.Add("effects that happened twice", float64(v.twice), trial.Count, never)
	r.Add("effects out of their key's order", float64(v.disorder), trial.Count, never)
	r.Add("delivered again", float64(v.again), trial.Count, show)
	r.Add("publications that failed, and were repeated", float64(v.refused), trial.Count, show)
	r.Add("left at the engine", float64(v.waiting), trial.Count, show)
	r.Add("longest time without an effect", v.longest.Seconds(), trial.Seconds, show)
	r.Add("longest from a confirmation to its effect", v.oldest.Seconds(), trial.Seconds, show)
	r.Add("slowest confirmation", v.slowest.Seconds(), trial.Seconds, show)
	r.Add("effects a second, over all", float64(v.confirmed)/max(v.took.Seconds(), 0.001), trial.PerSec, show)
}
