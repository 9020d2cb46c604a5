package rabbitqueue

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// broker is what RabbitMQ knows of a channel's deliveries.
type broker struct{ open, acked, nacked map[uint64]bool }

func (b *broker) ack(t *rapid.T, tag uint64, multiple bool) {
	if !b.open[tag] {
		t.Fatalf("the broker would close the channel: unknown tag %d", tag)
	}
	for k := range b.open {
		if k == tag || multiple && k < tag {
			delete(b.open, k)
			b.acked[k] = true
		}
	}
}

// TestTagsAckWhatWasSaid: whatever is acknowledged and given back, in whatever order and batches, the broker hears of
// exactly that, and of no tag that it does not know.
func TestTagsAckWhatWasSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := broker{make(map[uint64]bool), make(map[uint64]bool), make(map[uint64]bool)}
		said := make(map[uint64]bool)
		var set tags
		next := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"deliver": func(t *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(t, "n") {
					next++
					b.open[next] = true
					set.add(next)
				}
			},
			"ack": func(t *rapid.T) {
				batch := rapid.SliceOfDistinct(rapid.Uint64Range(0, next+2), rapid.ID[uint64]).Draw(t, "batch")
				known := 0
				for _, tag := range batch {
					if b.open[tag] {
						said[tag] = true
						known++
					}
				}
				upTo, single, lost := set.ack(slices.Clone(batch))
				if lost != len(batch)-known {
					t.Fatalf("%d of %v are lost, want %d", lost, batch, len(batch)-known)
				}
				if upTo != 0 {
					b.ack(t, upTo, true)
				}
				for _, tag := range single {
					b.ack(t, tag, false)
				}
			},
			"nack": func(t *rapid.T) {
				tag := rapid.Uint64Range(0, next).Draw(t, "tag")
				if set.open(tag) != b.open[tag] {
					t.Fatalf("tag %d: open %v", tag, set.open(tag))
				}
				if b.open[tag] {
					delete(b.open, tag)
					b.nacked[tag] = true
					set.settle(tag)
				}
			},
			"": func(t *rapid.T) {
				for tag := range b.acked {
					if !said[tag] {
						t.Fatalf("tag %d is acknowledged, and nobody said so", tag)
					}
				}
				for tag := range said {
					if !b.acked[tag] {
						t.Fatalf("tag %d is not acknowledged", tag)
					}
				}
				if len(set.done) > int(next) {
					t.Fatalf("%d settled ones are kept", len(set.done))
				}
			},
		})
	})
}

func TestTagsInOrderAreOne(t *testing.T) {
	var set tags
	for i := range uint64(10) {
		set.add(i + 1)
	}
	upTo, single, lost := set.ack([]uint64{3, 1, 2, 5})
	if upTo != 3 || !slices.Equal(single, []uint64{5}) || lost != 0 {
		t.Errorf("up to %d, then %v, %d lost", upTo, single, lost)
	}
	if upTo, single, _ = set.ack([]uint64{4}); upTo != 4 || len(single) != 0 || set.low != 6 {
		t.Errorf("up to %d, then %v; the lowest is %d", upTo, single, set.low)
	}
}
