package netns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/internal/fault"
)

// device is an end in memory.
type device struct {
	in   chan []byte // what its namespace sends
	once sync.Once
	done chan struct{}

	mu   sync.Mutex
	got  []string // what its namespace is sent: when, and the payload
	down bool
}

func newDevice() *device {
	return &device{in: make(chan []byte, 100), done: make(chan struct{})}
}

func (d *device) Read(b []byte) (int, error) {
	select {
	case p := <-d.in:
		if p == nil {
			return 0, errors.New("the device is down")
		}
		return copy(b, p), nil
	case <-d.done:
		return 0, os.ErrClosed
	}
}

func (d *device) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return 0, io.ErrShortWrite
	}
	p, _ := parse(b)
	text := fmt.Sprintf("%s %s", p.from, bytes.Trim(b[40:], "\x00"))
	if p.flags()&flagRST != 0 {
		text = p.from.String() + " RST"
	}
	d.got = append(d.got, fmt.Sprintf("%3d ms: %s", time.Since(synctestEpoch).Milliseconds(), text))
	return len(b), nil
}

func (d *device) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

// synctestEpoch is when every bubble begins.
var synctestEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// world is a switch with three ends, in virtual time.
type world struct {
	t    *testing.T
	s    *Switch
	addr map[string]netip.Addr
	dev  map[string]*device
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, s: NewSwitch(1), addr: make(map[string]netip.Addr), dev: make(map[string]*device)}
	for i, id := range []string{"a-1", "b-1", "c-1"} {
		w.addr[id], w.dev[id] = netip.AddrFrom4([4]byte{10, 200, byte(i + 1), 1}), newDevice()
		if err := w.s.Plug(id, w.addr[id], w.dev[id]); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := w.s.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// send sends a packet with a few words in it and waits until the switch has taken it.
func (w *world) send(from, to, text string) { w.sendAs(w.addr[from], from, to, text) }

func (w *world) sendAs(as netip.Addr, from, to, text string) {
	b := append(segment(as, w.addr[to], flow{40000, 80}, 0, 0, flagACK, 0), text...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	w.dev[from].in <- b
	synctest.Wait()
}

func (w *world) set(name string, rules ...Rule) {
	w.t.Helper()
	if err := w.s.Set(name, rules...); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// got is what an end was sent since it was asked last.
func (w *world) got(id string, want ...string) {
	w.t.Helper()
	synctest.Wait()
	d := w.dev[id]
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.got, want) {
		w.t.Errorf("%s got %q, not %q", id, d.got, want)
	}
	d.got = nil
}

func TestSwitchRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.send("a-1", "b-1", "hello")
		w.send("c-1", "b-1", "you")
		w.got("b-1", "  0 ms: 10.200.1.1 hello", "  0 ms: 10.200.3.1 you")
		w.got("a-1")

		w.addr["nobody"] = netip.MustParseAddr("10.200.9.9")
		w.send("a-1", "nobody", "lost")
		w.sendAs(w.addr["c-1"], "a-1", "b-1", "forged")
		w.dev["a-1"].in <- []byte{0x60}
		synctest.Wait()
		w.got("b-1")
		if n := w.s.Strays(); n != 3 {
			t.Errorf("%d strays", n)
		}
		w.dev["b-1"].mu.Lock()
		w.dev["b-1"].down = true
		w.dev["b-1"].mu.Unlock()
		w.send("a-1", "b-1", "lost")
		if f := w.s.Flows()[0]; f.From != "a-1" || f.To != "b-1" || f.Packets != 2 || f.Lost != 1 {
			t.Errorf("%+v", f)
		}
	})
}

// A partition is one way if it is asked for one way, about those that it names, and over when its name is set to nothing.
func TestSwitchCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := func(text string) {
			for _, from := range []string{"a-1", "b-1", "c-1"} {
				for _, to := range []string{"a-1", "b-1", "c-1"} {
					if from != to {
						w.send(from, to, text)
					}
				}
			}
		}
		w.set("one way", Rules([]string{"a-1"}, []string{"b-1"}, fault.Shape{CutOut: true})...)
		all("1")
		w.got("a-1", "  0 ms: 10.200.2.1 1", "  0 ms: 10.200.3.1 1")
		w.got("b-1", "  0 ms: 10.200.3.1 1")
		w.got("c-1", "  0 ms: 10.200.1.1 1", "  0 ms: 10.200.2.1 1")

		// Another one, of everybody with c, on top of it; they end in the order in which they began.
		w.set("island", Rules([]string{Everyone}, []string{"c-1"}, fault.Shape{CutOut: true, CutIn: true})...)
		w.set("one way")
		if names := w.s.Names(); !slices.Equal(names, []string{"island"}) {
			t.Errorf("rules of %q are in force", names)
		}
		all("2")
		w.got("a-1", "  0 ms: 10.200.2.1 2")
		w.got("b-1", "  0 ms: 10.200.1.1 2")
		w.got("c-1")
		w.set("island")
		all("3")
		w.got("c-1", "  0 ms: 10.200.1.1 3", "  0 ms: 10.200.2.1 3")
	})
}

// What is on its way when a delay is mended arrives at once, in its order, and so does what comes after.
func TestSwitchDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set("slow", Rules([]string{"a-1"}, []string{"b-1"}, fault.Shape{Delay: 100 * time.Millisecond})...)
		w.send("a-1", "b-1", "1")
		w.send("b-1", "a-1", "back")
		w.send("c-1", "b-1", "other")
		time.Sleep(60 * time.Millisecond) //nolint:forbidigo // virtual time
		w.send("a-1", "b-1", "2")
		time.Sleep(60 * time.Millisecond) //nolint:forbidigo // virtual time
		w.got("a-1", "100 ms: 10.200.2.1 back")
		w.got("b-1", "  0 ms: 10.200.3.1 other", "100 ms: 10.200.1.1 1")
		w.send("a-1", "b-1", "3")
		if f := w.s.Flows()[0]; f.Held != 2 {
			t.Errorf("%+v", f)
		}
		w.set("slow")
		w.send("a-1", "b-1", "4")
		w.got("b-1", "120 ms: 10.200.1.1 2", "120 ms: 10.200.1.1 3", "120 ms: 10.200.1.1 4")
	})
}

func TestSwitchResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.send("a-1", "b-1", "before")
		w.set("reset", Rules([]string{"a-1"}, []string{"b-1"}, fault.Shape{Reset: true})...)
		w.send("a-1", "b-1", "after")
		w.got("a-1", "  0 ms: 10.200.2.1 RST")
		w.got("b-1", "  0 ms: 10.200.1.1 before", "  0 ms: 10.200.1.1 RST")
		if f := w.s.Flows()[0]; f.Reset != 1 {
			t.Errorf("%+v", f)
		}
	})
}

// Chance is the seed's, pair by pair: what others send changes nothing.
func TestSwitchLosesBySeed(t *testing.T) {
	var runs [2]map[string]bool
	for i := range runs {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.set("lossy", Rules([]string{Everyone}, []string{Everyone}, fault.Shape{Loss: 0.3})...)
			for n := range 200 {
				w.send("a-1", "b-1", fmt.Sprint(n))
				if i == 1 {
					w.send("c-1", "b-1", "other")
				}
			}
			runs[i] = make(map[string]bool)
			for _, text := range w.dev["b-1"].got {
				if !strings.HasSuffix(text, "other") {
					runs[i][text] = true
				}
			}
		})
	}
	if n := len(runs[0]); n < 120 || n > 160 {
		t.Errorf("%d of 200 arrived, of which 0.3 are to be lost", n)
	}
	if fmt.Sprint(runs[0]) != fmt.Sprint(runs[1]) {
		t.Errorf("two runs by one seed: %v and %v", runs[0], runs[1])
	}
}

// A switch that is closed while packets wait forgets them, and nothing of it goes on.
func TestSwitchCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set("slow", Rules([]string{"a-1"}, []string{"b-1"}, fault.Shape{Delay: time.Hour})...)
		w.send("a-1", "b-1", "late")
		if err := w.s.Close(); err != nil {
			t.Error(err)
		}
		w.got("b-1")
		if err := w.s.Plug("d-1", netip.MustParseAddr("10.200.4.1"), newDevice()); err == nil {
			t.Error("an end was plugged into a switch that is closed")
		}
	})
}

// What is said of everybody and everybody counts once for a packet, not once for each of its ends.
func TestRulesCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set("slow", Rules([]string{Everyone}, []string{Everyone, "b-1"}, fault.Shape{Delay: 10 * time.Millisecond})...)
		w.set("slower", Rules([]string{"b-1", "c-1"}, []string{"a-1"}, fault.Shape{Delay: 5 * time.Millisecond})...)
		w.send("a-1", "b-1", "1")
		time.Sleep(time.Second) //nolint:forbidigo // virtual time
		w.got("b-1", " 15 ms: 10.200.1.1 1")
	})
}

// A device that cannot be read for a while is read again.
func TestSwitchWaitsForDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.dev["a-1"].in <- nil
		synctest.Wait()
		w.send("a-1", "b-1", "waits")
		w.got("b-1")
		time.Sleep(again) //nolint:forbidigo // virtual time
		w.got("b-1", "100 ms: 10.200.1.1 waits")
		w.dev["a-1"].in <- nil // and a switch that is closed meanwhile does not wait
	})
}

func TestSwitchRefuses(t *testing.T) {
	s := NewSwitch(1)
	defer s.Close()
	if err := s.Plug("a-1", left, newDevice()); err != nil {
		t.Fatal(err)
	}
	if s.Plug("a-1", right, newDevice()) == nil || s.Plug("b-1", left, newDevice()) == nil {
		t.Error("two ends have the same ID, or the same address")
	}
	a := []string{"a-1"}
	for _, r := range []Rule{
		{From: a, Cut: true},
		{To: a, Cut: true},
		{From: a, To: a, Loss: 1.1},
		{From: a, To: a, Loss: -0.1},
		{From: a, To: a, Loss: math.NaN()},
		{From: a, To: a, Delay: -1},
		{From: a, To: a, Jitter: -1},
		{From: a, To: a, Rate: -1},
		{From: a, To: a, ResetEvery: -1},
	} {
		if s.Set("wrong", r) == nil {
			t.Errorf("%+v was taken", r)
		}
	}
}
