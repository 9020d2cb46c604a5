package replica

import (
	"strings"
	"testing"
	"time"
)

// strangers makes three members of a group and z, which was once started where it saw nobody, and leads a group of its own.
func strangers(w *world) {
	w.Helper()
	all := w.names
	w.names = three
	w.startAll()
	w.boxes["a"].put("x", "1")
	z := w.boxes["z"]
	z.cfg = func(c *Config) { c.Members, c.Peers = 1, Static() }
	z.start()
	z.put("x", "strange")
	z.stop()
	z.cfg = nil
	w.names = all
	z.start()
}

func TestAStrangeGroupIsToldOfAndHarmless(t *testing.T) {
	inBubble(t, 3, []string{"a", "b", "c", "z"}, func(w *world) {
		strangers(w)
		w.until("all say so", func() bool {
			for _, b := range w.boxes {
				if s := b.g.Status(); s.Role == Failed || !strings.Contains(s.Why, "two of it") || strings.Contains(s.Why, "empty") {
					return false
				}
			}
			return true
		})
		for _, n := range three {
			w.boxes[n].kill()
			w.boxes[n].fs.Crash()
		}
		time.Sleep(5 * time.Second) //nolint:forbidigo // in virtual time
		for _, n := range three {   // one by one: those that are first have nobody who leads them for a while
			w.boxes[n].start()
			time.Sleep(3 * time.Second) //nolint:forbidigo // in virtual time
		}
		w.boxes["a"].put("x", "2")
		for _, n := range three {
			w.boxes[n].want("x", "2")
		}
	})
}

func TestARefusalEndsWithItsReason(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		w.boxes["a"].put("x", "old")
		w.leader()
		for _, b := range w.boxes {
			w.until(b.name+" is a member", func() bool { return b.g.Status().Applied > 1 })
		}
		old := w.boxes["c"].fs
		olds := map[string]*box{"a": {fs: w.boxes["a"].fs}, "b": {fs: w.boxes["b"].fs}}
		for _, b := range w.boxes {
			b.stop()
			b.wipe()
		}
		w.startAll()
		w.boxes["a"].put("x", "new")
		w.boxes["c"].stop()
		w.boxes["c"].fs = old
		w.boxes["c"].start()
		w.until("it is refused", func() bool { return w.boxes["c"].g.Status().Role == Failed })
		for n, o := range olds { // those were the wrong ones
			w.boxes[n].stop()
			w.boxes[n].fs = o.fs
			w.boxes[n].start()
		}
		w.until("it goes on", func() bool { return w.boxes["c"].g.Status().Role != Failed })
		w.boxes["c"].put("y", "1")
		w.boxes["c"].want("x", "old")
	})
}
