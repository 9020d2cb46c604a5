package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/memnet"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
	"github.com/holdfast-go/holdfast/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// end is one host in a test.
type end struct {
	*Transport
	t     *testing.T
	net   *memnet.Network
	name  string
	addr  string
	store *snap.Store
	stop  func()

	mu       sync.Mutex
	received []string
	events   []string
	refuse   error
}

// handler is an end as its Transport knows it.
type handler struct{ *end }

func start(t *testing.T, n *memnet.Network, name, addr string) *end {
	t.Helper()
	e := &end{t: t, net: n, name: name, addr: addr}
	var err error
	if e.store, err = snap.Open(disk.NewSim(1), "snap", snap.Config{}); err != nil {
		t.Fatal(err)
	}
	lis, err := n.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	e.Transport = New(Config{
		Self: name, Handler: handler{e}, Store: e.store, Logger: log, Silence: 3 * time.Second, QueueBytes: 1 << 20,
		Dial: func(addr string) (*grpc.ClientConn, error) {
			dial := grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return n.Dial(ctx, addr) })
			return rpc.Direct(addr, rpc.ClientConfig{Options: []grpc.DialOption{dial}})
		},
	})
	srv, err := rpc.NewServer(Server(rpc.ServerConfig{Listener: lis, Logger: log, DrainTimeout: -1}))
	if err != nil {
		t.Fatal(err)
	}
	e.Register(srv)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	<-srv.Ready()
	var once sync.Once
	e.stop = func() {
		once.Do(func() {
			e.Close()
			cancel()
			<-done
		})
	}
	return e
}

func (e *end) note(list *[]string, what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	*list = append(*list, what)
}

func (e *end) list(list *[]string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return fmt.Sprint(*list)
}

// Receive implements Handler.
func (e handler) Receive(from string, a Address, body []byte) {
	e.note(&e.received, fmt.Sprintf("%s %d %s", from, a.Group, body))
}

// Accept implements Handler.
func (e handler) Accept(string, Address, snap.ID) error { return e.refuse }

// Installed implements Handler.
func (e handler) Installed(from string, a Address, id snap.ID, body []byte) error {
	if string(body) == "of another" {
		return failure.New(failure.InvalidArgument, "not of this snapshot")
	}
	e.note(&e.received, fmt.Sprintf("%s %d %s, snapshot %d.%d", from, a.Group, body, id.Index, id.Term))
	return nil
}

// Call implements Handler.
func (e handler) Call(_ context.Context, from, method string, request []byte) ([]byte, error) {
	if method == "fail" {
		return nil, failure.New(failure.Aborted, "no").WithReason("NO", "test")
	}
	return []byte(from + " " + method + " " + string(request)), nil
}

// Up implements Handler.
func (e handler) Up(host string) { e.note(&e.events, "+"+host) }

// Down implements Handler.
func (e handler) Down(host string, gone bool) { e.note(&e.events, fmt.Sprintf("-%s %v", host, gone)) }

type text string

// AppendBinary implements encoding.BinaryAppender.
func (s text) AppendBinary(b []byte) ([]byte, error) {
	if s == "bad" {
		return append(b, "half"...), errors.New("cannot")
	}
	return append(b, s...), nil
}

func pair(t *testing.T, test func(a, b *end)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		a, b := start(t, n, "a", "127.0.0.1:1001"), start(t, n, "b", "127.0.0.1:1002")
		defer func() {
			a.stop()
			b.stop()
			time.Sleep(10 * time.Second) //nolint:forbidigo // in virtual time: what gRPC still waits for
		}()
		test(a, b)
	})
}

// follow makes both know each other, and waits until one stream is left in use.
func follow(a, b *end) {
	a.Follow([]Host{{"a", a.addr}, {"b", b.addr}})
	b.Follow([]Host{{"a", a.addr}, {"b", b.addr}})
	wait(time.Second)
}

func wait(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // in virtual time
	synctest.Wait()
}

func TestMessagesGoBothWays(t *testing.T) {
	pair(t, func(a, b *end) {
		follow(a, b)
		for i := range 3 {
			if !a.Send("b", Address{Group: uint64(i)}, text("x")) || !b.Send("a", Address{Group: 9}, text(fmt.Sprint(i))) {
				t.Error("dropped")
			}
		}
		if a.Send("b", Address{}, text("bad")) {
			t.Error("what cannot be encoded was sent")
		}
		if a.Send("nobody", Address{}, text("x")) {
			t.Error("sent to nobody")
		}
		wait(time.Second)
		if got := b.list(&b.received); got != "[a 0 x a 1 x a 2 x]" {
			t.Errorf("b has received %s", got)
		}
		if got := a.list(&a.received); got != "[b 9 0 b 9 1 b 9 2]" {
			t.Errorf("a has received %s", got)
		}
		if got := a.list(&a.events); got != "[+b]" {
			t.Errorf("a has seen %s", got)
		}
	})
}

func TestOneSideIsEnough(t *testing.T) {
	pair(t, func(a, b *end) {
		a.Follow([]Host{{"b", b.addr}})
		wait(time.Second)
		if !b.Send("a", Address{Group: 1}, text("x")) {
			t.Error("dropped")
		}
		wait(time.Second)
		if got := a.list(&a.received); got != "[b 1 x]" {
			t.Errorf("a has received %s", got)
		}
		if _, err := b.Call(a.t.Context(), "a", "m", nil); failure.CodeOf(err) != failure.Unavailable {
			t.Errorf("where a listens is not known: %v", err)
		}
	})
}

func TestEndsAreTold(t *testing.T) {
	pair(t, func(a, b *end) {
		follow(a, b)
		b.stop()
		wait(time.Second)
		if got := a.list(&a.events); got != "[+b -b true]" {
			t.Errorf("a has seen %s", got)
		}
		b = start(b.t, b.net, "b", b.addr)
		defer b.stop()
		wait(time.Second)
		if got := a.list(&a.events); got != "[+b -b true +b]" {
			t.Errorf("a has seen %s", got)
		}
	})
}

// Whichever side has dialled, both learn of the end of a process, and of one that is back before anybody has noticed.
func TestEndsAreToldWhoeverHasDialled(t *testing.T) {
	pair(t, func(a, b *end) {
		b.Follow([]Host{{"a", a.addr}})
		wait(time.Second)
		b.stop()
		wait(time.Second)
		if got := a.list(&a.events); got != "[+b -b true]" {
			t.Errorf("a has seen %s", got)
		}
	})
}

func TestARestartIsNoticed(t *testing.T) {
	pair(t, func(a, b *end) {
		b.Follow([]Host{{"a", a.addr}})
		wait(time.Second)
		l := newLink(1)
		if !a.attach("b", "another process", l) {
			t.Fatal("not attached")
		}
		a.work.Add(-2)
		synctest.Wait()
		if got := a.list(&a.events); got != "[+b -b true +b]" {
			t.Errorf("a has seen %s", got)
		}
		a.detach("b", l, true)
	})
}

func TestSilenceIsCut(t *testing.T) {
	pair(t, func(a, b *end) {
		follow(a, b)
		a.net.Freeze(b.addr)
		a.net.Freeze(a.addr)
		wait(20 * time.Second)
		if got := a.list(&a.events); got != "[+b -b false]" {
			t.Errorf("a has seen %s", got)
		}
		if a.Send("b", Address{}, text("x")) {
			t.Error("sent to somebody who does not hear")
		}
		a.net.Restore(a.addr)
		a.net.Restore(b.addr)
		wait(20 * time.Second)
		if got := a.list(&a.events); got != "[+b -b false +b]" {
			t.Errorf("a has seen %s", got)
		}
	})
}

// What is to be sent is stuck then, and must not be what listens.
func TestSilenceIsCutThoughMuchIsToBeSent(t *testing.T) {
	pair(t, func(a, b *end) {
		follow(a, b)
		a.net.Freeze(b.addr)
		a.net.Freeze(a.addr)
		for a.Send("b", Address{}, text(make([]byte, 64<<10))) {
			synctest.Wait()
		}
		wait(6 * time.Second)
		if a.Linked("b") {
			t.Error("still linked to somebody who does not hear")
		}
	})
}

func TestAFullQueueDrops(t *testing.T) {
	pair(t, func(a, b *end) {
		follow(a, b)
		a.net.Freeze(b.addr)
		a.net.Freeze(a.addr)
		sent := 0
		for a.Send("b", Address{}, text(make([]byte, 64<<10))) {
			if sent++; sent > 1000 {
				t.Fatal("nothing is dropped")
			}
			synctest.Wait()
		}
	})
}

func TestAnotherHostAtTheAddress(t *testing.T) {
	pair(t, func(a, b *end) {
		a.Follow([]Host{{"c", b.addr}})
		wait(time.Second)
		if a.Linked("c") {
			t.Error("b was taken for c")
		}
		if _, err := a.Call(a.t.Context(), "c", "m", nil); failure.CodeOf(err) != failure.FailedPrecondition {
			t.Errorf("got %v", err)
		}
	})
}

func TestCall(t *testing.T) {
	pair(t, func(a, b *end) {
		follow(a, b)
		got, err := a.Call(a.t.Context(), "b", "m", []byte("hello"))
		if err != nil || string(got) != "a m hello" {
			t.Errorf("got %q, %v", got, err)
		}
		_, err = a.Call(a.t.Context(), "b", "fail", nil)
		if f := failure.From(err); f.Code != failure.Aborted || f.Reason != "NO" {
			t.Errorf("got %+v", f)
		}
	})
}

// content is what a snapshot has in it.
func content(n int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), n/16) }

func snapshot(t *testing.T, s *snap.Store, n int) snap.ID {
	t.Helper()
	w, err := s.Create(7, 100, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content(n)); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return w.ID()
}

func check(t *testing.T, s *snap.Store, id snap.ID, n int) {
	t.Helper()
	r, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, content(n)) {
		t.Errorf("%d bytes have come, %v", len(got), err)
	}
}

func TestSnapshot(t *testing.T) {
	pair(t, func(a, b *end) {
		follow(a, b)
		id := snapshot(t, a.store, 3<<20)
		sent, err := a.SendSnapshot(a.t.Context(), "b", Address{Group: 7, To: 2}, id, text("message"))
		if err != nil || sent < 3<<20 {
			t.Fatalf("sent %d, %v", sent, err)
		}
		check(t, b.store, id, 3<<20)
		if got := b.list(&b.received); got != fmt.Sprintf("[a 7 message, snapshot %d.%d]", id.Index, id.Term) {
			t.Errorf("b has received %s", got)
		}
		if _, err := a.SendSnapshot(a.t.Context(), "b", Address{Group: 7}, id, text("of another")); failure.CodeOf(err) != failure.InvalidArgument {
			t.Errorf("got %v", err)
		}
		b.refuse = failure.New(failure.FailedPrecondition, "not for me")
		if _, err := a.SendSnapshot(a.t.Context(), "b", Address{Group: 7}, id, text("m")); failure.CodeOf(err) != failure.FailedPrecondition {
			t.Errorf("got %v", err)
		}
	})
}

func TestSnapshotIsResumedAndThrottled(t *testing.T) {
	pair(t, func(a, b *end) {
		a.limiter = rate.NewLimiter(1<<20, chunkBytes)
		follow(a, b)
		id := snapshot(t, a.store, 4<<20)
		ctx, cancel := context.WithTimeout(a.t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := a.SendSnapshot(ctx, "b", Address{Group: 7}, id, text("m")); err == nil {
			t.Fatal("4 MiB have gone within 2 s, at 1 MiB/s")
		}
		wait(time.Second)
		sent, err := a.SendSnapshot(a.t.Context(), "b", Address{Group: 7}, id, text("m"))
		if err != nil {
			t.Fatal(err)
		}
		if sent > 3<<20 || time.Since(began) > 8*time.Second {
			t.Errorf("%d bytes were sent again", sent)
		}
		check(t, b.store, id, 4<<20)
	})
}

// lateFS is a disk that takes a minute to open a file.
type lateFS struct{ disk.FS }

// Open implements disk.FS.
func (l lateFS) Open(name string) (disk.File, error) {
	wait(time.Minute)
	return l.FS.Open(name)
}

// What the other side has of a large snapshot is read and written once more before it says from where it goes on.
func TestTheAnswerToAnOfferMayTakeLong(t *testing.T) {
	pair(t, func(a, b *end) {
		follow(a, b)
		id := snapshot(t, a.store, 1<<20)
		var err error
		if b.store, err = snap.Open(lateFS{disk.NewSim(1)}, "snap", snap.Config{}); err != nil {
			t.Fatal(err)
		}
		b.cfg.Store = b.store
		if _, err := a.SendSnapshot(a.t.Context(), "b", Address{Group: 7}, id, text("m")); err != nil {
			t.Fatal(err)
		}
		check(t, b.store, id, 1<<20)
	})
}

func TestAStreamEndsWhoseHostWasForgotten(t *testing.T) {
	pair(t, func(a, b *end) {
		follow(a, b)
		a.mu.Lock()
		l := a.hosts["b"].links[0]
		a.mu.Unlock()
		a.detach("nobody", l, true)
	})
}

func FuzzParseFrame(f *testing.F) {
	one, _ := appendMessage(nil, Address{1, 2, 3, 4}, text("body"))
	two, _ := appendMessage(one, Address{5, 6, 7, 8}, text(""))
	f.Add(one)
	f.Add(two)
	f.Add(two[:len(two)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := parseFrame(b, func(a Address, body []byte) {
			again, _ = appendMessage(again, a, text(body))
		})
		if err == nil && !bytes.Equal(again, b) && len(b) > 0 {
			// "bad" is a body that the test's own text refuses.
			if !bytes.Contains(b, []byte("bad")) {
				t.Errorf("%x became %x", b, again)
			}
		}
	})
}

func FuzzParseOffer(f *testing.F) {
	f.Add(offer{address: Address{1, 2, 3, 4}, id: snap.ID{Group: 1, Index: 5, Term: 6, Nonce: 7}, size: 8, body: []byte("m")}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOffer(b)
		if err == nil && !bytes.Equal(o.append(nil), b) {
			t.Errorf("%x became %+v", b, o)
		}
	})
}
