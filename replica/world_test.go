package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/memnet"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is hosts on one network, each with a disk of its own.
type world struct {
	*testing.T
	net     *memnet.Network
	members int
	names   []string
	boxes   map[string]*box
	log     *slog.Logger
}

// box is where one host runs.
type box struct {
	w    *world
	name string
	addr string
	fs   *disk.Sim
	host *Host
	end  context.CancelFunc
	done chan error
	kv   *register
	g    *Group
	cfg  func(*Config)
	gcfg GroupConfig
	hang *hangingFS // nil: the disk does not hang
}

// inBubble runs a test with hosts of these names, that know of each other, in virtual time. They are stopped in the end.
func inBubble(t *testing.T, members int, names []string, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, net: memnet.New(), members: members, names: names, boxes: make(map[string]*box), log: slog.New(slog.DiscardHandler)}
		if os.Getenv("REPLICA_LOG") != "" {
			w.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
		for i, n := range names {
			w.boxes[n] = &box{w: w, name: n, addr: fmt.Sprintf("127.0.0.1:%d", 7001+i), fs: disk.NewSim(uint64(i))}
		}
		defer func() {
			for _, n := range w.names {
				w.boxes[n].stop()
			}
			time.Sleep(10 * time.Second) //nolint:forbidigo // in virtual time: what waits for a time-out in grpc
		}()
		test(w)
	})
}

// peers are the hosts that a box knows of, as of now.
type peers struct{ w *world }

// Watch implements Peers. It looks again every second, as a registry would tell.
func (p peers) Watch(ctx context.Context, update func([]Peer)) error {
	for ctx.Err() == nil {
		var all []Peer
		for _, n := range p.w.names {
			all = append(all, Peer{n, p.w.boxes[n].addr})
		}
		update(all)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

func (b *box) start() *box {
	b.w.Helper()
	if err := b.tryStart(); err != nil {
		b.w.Fatal(err)
	}
	return b
}

func (b *box) tryStart() error {
	lis, err := b.w.net.Listen(b.addr)
	if err != nil {
		return err
	}
	cfg := Config{
		Name: b.name, Dir: "data", Peers: peers{b.w}, Members: b.w.members, Listener: lis, Election: 250 * time.Millisecond,
		SegmentBytes: 64 << 10, Logger: b.w.log,
	}
	if b.cfg != nil {
		b.cfg(&cfg)
	}
	dial := grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return b.w.net.Dial(ctx, addr) })
	var files disk.FS = b.fs
	if b.hang != nil {
		b.hang.FS, files = b.fs, b.hang
	}
	host, err := newHost(cfg, seams{fs: files, dial: []grpc.DialOption{dial}})
	if err != nil {
		return err
	}
	b.kv = newRegister()
	if b.g, err = host.Group("kv", b.kv, b.gcfg); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.host, b.end, b.done = host, cancel, make(chan error, 1)
	go func() { b.done <- host.Run(ctx) }()
	<-host.Ready()
	return nil
}

// stop ends the host in order.
func (b *box) stop() {
	b.w.Helper()
	if b.host == nil {
		return
	}
	b.end()
	if err := <-b.done; err != nil && !errors.Is(err, disk.ErrCrashed) {
		b.w.Errorf("%s: %v", b.name, err)
	}
	b.host = nil
}

// kill ends the host without anything that it could do about it.
func (b *box) kill() {
	b.w.Helper()
	b.fs.Kill()
	b.w.net.Cut(b.addr)
	b.end()
	<-b.done
	b.host = nil
	b.w.net.Restore(b.addr)
}

// wipe gives the box an empty disk.
func (b *box) wipe() { b.fs = disk.NewSim(99) }

func (w *world) startAll() {
	w.Helper()
	for _, n := range w.names {
		w.boxes[n].start()
	}
}

// any returns a box that runs.
func (w *world) any() *box {
	for _, n := range w.names {
		if w.boxes[n].host != nil {
			return w.boxes[n]
		}
	}
	w.Fatal("nothing runs")
	return nil
}

// leader waits until all running members agree on who leads and returns it.
func (w *world) leader() *box {
	w.Helper()
	for range 2000 {
		name := ""
		agree := true
		for _, n := range w.names {
			if b := w.boxes[n]; b.host != nil && b.g.Status().Role != Failed {
				l, _ := b.g.Leader()
				if name == "" {
					name = l
				}
				agree = agree && l == name && l != ""
			}
		}
		if agree && name != "" && w.boxes[name].host != nil {
			return w.boxes[name]
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // in virtual time
	}
	w.dump()
	w.Fatal("there is no leader")
	return nil
}

// startOthersBeside starts all, of whom only three found the group, and returns the first of those.
func (w *world) startOthersBeside() *box {
	w.Helper()
	for _, b := range w.boxes {
		b.gcfg.Members = three
	}
	w.startAll()
	a := w.boxes["a"]
	a.put("x", "1")
	return a
}

// follower returns a voter that does not lead.
func (w *world) follower() *box {
	leader := w.leader()
	for _, n := range three {
		if b := w.boxes[n]; b != leader {
			return b
		}
	}
	return nil
}

func (w *world) dump() {
	for _, n := range w.names {
		if b := w.boxes[n]; b.host != nil {
			w.Logf("%s: %+v", n, b.g.Status())
		} else {
			w.Logf("%s is down", n)
		}
	}
}

func (b *box) put(key, value string, opts ...ProposeOption) {
	b.w.Helper()
	if err := b.tryPut(30*time.Second, key, value, opts...); err != nil {
		b.w.dump()
		b.w.Fatalf("%s: put %s=%s: %v", b.name, key, value, err)
	}
}

func (b *box) tryPut(timeout time.Duration, key, value string, opts ...ProposeOption) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_, err := b.g.Propose(ctx, []byte(key+"="+value), opts...)
	return err
}

func (b *box) get(key string) string {
	b.w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	value := ""
	if err := b.g.Read(ctx, Linearizable, func() error { value = b.kv.get(key); return nil }); err != nil {
		b.w.dump()
		b.w.Fatalf("%s: get %s: %v", b.name, key, err)
	}
	return value
}

func (b *box) want(key, value string) {
	b.w.Helper()
	if got := b.get(key); got != value {
		b.w.Errorf("%s: %s is %q, want %q", b.name, key, got, value)
	}
}

// until waits for something, for at most a minute.
func (w *world) until(what string, so func() bool) {
	w.Helper()
	for range 6000 {
		if so() {
			return
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // in virtual time
	}
	w.dump()
	w.Fatalf("not within a minute: %s", what)
}

// register is a machine: values by key, and how often each was set.
type register struct {
	mu     sync.Mutex
	values map[string]string
	times  map[string]int
}

func newRegister() *register {
	return &register{values: make(map[string]string), times: make(map[string]int)}
}

func (r *register) get(key string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.values[key]
}

func (r *register) count(key string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times[key]
}

// Apply implements Machine: "key=value" sets and returns the value before.
func (r *register) Apply(e Entry) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, value, ok := strings.Cut(string(e.Command), "=")
	switch {
	case !ok:
		return nil, failure.New(failure.InvalidArgument, "not key=value").WithReason("SYNTAX", "test")
	case key == "panic":
		panic(value)
	}
	before := r.values[key]
	r.values[key] = value
	r.times[key]++
	return []byte(before), nil
}

type registerSnapshot struct {
	Values map[string]string
	Times  map[string]int
}

// Snapshot implements Machine.
func (r *register) Snapshot() (Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return registerSnapshot{maps.Clone(r.values), maps.Clone(r.times)}, nil
}

// Write implements Snapshot.
func (s registerSnapshot) Write(w io.Writer) error { return json.NewEncoder(w).Encode(s) }

// Release implements Snapshot.
func (s registerSnapshot) Release() {}

// Restore implements Machine.
func (r *register) Restore(in io.Reader) error {
	var s registerSnapshot
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values, r.times = s.Values, s.Times
	return nil
}
