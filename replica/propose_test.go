package replica

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"
)

func TestAResultIsTheCallersOwn(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		a := w.boxes["a"].start()
		a.put("x", "before")
		for range 2 {
			got, err := a.g.Propose(context.Background(), []byte("x=after"), Once("key"))
			if err != nil || string(got) != "before" {
				t.Fatalf("got %q, %v", got, err)
			}
			clear(got)
		}
	})
}

func TestMembersAreFollowedHoweverManyHostsThereAre(t *testing.T) {
	inBubble(t, 2, []string{"y", "z"}, func(w *world) {
		w.startAll()
		y := w.boxes["y"]
		y.put("x", "1")
		crowd := peersOf(w)
		for i := range 2 * maxPeers {
			crowd = append(crowd, Peer{fmt.Sprintf("crowd-%03d", i), "127.0.0.1:1"})
		}
		y.host.found(y.host.ctx, crowd)
		names := y.host.names()
		if len(names) != maxPeers || names[0] != "z" {
			t.Errorf("%d are followed, %s first", len(names), names[0])
		}
		time.Sleep(2 * time.Second) //nolint:forbidigo // in virtual time: discovery tells of the two again
	})
}

func peersOf(w *world) (all []Peer) {
	for _, n := range w.names {
		all = append(all, Peer{n, w.boxes[n].addr})
	}
	return all
}

func TestTheLargestCommandAtAnyMember(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		for _, b := range w.boxes {
			b.gcfg.MaxCommand, b.gcfg.MaxPendingBytes = 1<<20, 1<<20
		}
		w.startAll()
		w.boxes["a"].put("x", "1")
		largest := append([]byte("y="), bytes.Repeat([]byte("z"), 1<<20-2)...)
		for _, n := range three {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if _, err := w.boxes[n].g.Propose(ctx, largest); err != nil {
				t.Errorf("at %s: %v", n, err)
			}
		}
	})
}
