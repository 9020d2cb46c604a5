package rest

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
)

func bodyOf(src io.Reader, length, keep int64) *requestBody {
	return newRequestBody(&http.Request{Body: io.NopCloser(src), ContentLength: length}, keep, true)
}

// Whatever is read of it by whom, each attempt gets the body from its beginning, or an error, never something else.
func TestEveryAttemptGetsTheBodyFromItsBeginning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 200, 400).Draw(t, "text")
		keep := rapid.Int64Range(0, 300).Draw(t, "keep")
		length := int64(len(text))
		if rapid.Bool().Draw(t, "length unknown") {
			length = -1
		}
		b := bodyOf(strings.NewReader(text), length, keep)
		for range rapid.IntRange(1, 4).Draw(t, "attempts") {
			whole := b.reclaim()
			view, err := b.next()
			if (err == nil) != whole {
				t.Fatalf("reclaim said %v, next %v", whole, err)
			}
			if err != nil {
				return
			}
			n := rapid.IntRange(0, len(text)+10).Draw(t, "read")
			got, err := io.ReadAll(io.LimitReader(view, int64(n)))
			if err != nil || string(got) != text[:min(n, len(text))] {
				t.Fatalf("read %q %v, want %q", got, err, text[:min(n, len(text))])
			}
			if int64(len(got)) <= keep && length <= keep && !b.reclaim() {
				t.Fatalf("%d bytes read, %d may be kept, and it is lost", len(got), keep)
			}
			_ = view.Close()
		}
	})
}

// What fails on this side is the caller's: it is said so, at once, and no instance is the worse for it.
func TestWhatFailsOnThisSideIsNotTheInstances(t *testing.T) {
	half := func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("the disk here")))), nil
	}
	for name, change := range map[string]func(*http.Request){
		"a body":                    func(req *http.Request) { req.Body, _ = half() },
		"a body that there is more": func(req *http.Request) { req.Body, _ = half(); req.GetBody = half },
		"a query":                   func(req *http.Request) { req.URL.RawQuery = "q=a\nb" },
		"an opaque URL":             func(req *http.Request) { req.URL.Opaque = "//shop/\x7f" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, id := range []string{"a", "b", "c"} {
				w.good(id)
			}
			ejected := atomic.Int32{}
			client := w.client(ClientConfig{Balance: balance.Config{OnEject: func(balance.Event) { ejected.Add(1) }}})
			const calls = 30
			for range calls {
				req := call{method: "PUT", body: "half and half"}.request(t, t.Context())
				req.GetBody = nil
				change(req)
				if _, _, err := send(client, req); failure.CodeOf(err) != failure.InvalidArgument {
					t.Fatal(err)
				}
			}
			transport, _ := client.Transport.(*Transport)
			// A connection that a request has broken may be found by the next one, which then goes to another.
			if _, attempts := transport.Counts(); attempts > calls+calls/10 || ejected.Load() > 0 {
				t.Errorf("%d attempts in %d calls, %d ejections", attempts, calls, ejected.Load())
			}
		})
	}
}

func TestAttemptThatIsReplacedCannotReadOn(t *testing.T) {
	b := bodyOf(strings.NewReader("abc"), -1, 100)
	first, _ := b.next()
	second, _ := b.next()
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, errReplaced) {
		t.Errorf("error %v", err)
	}
	if got, err := io.ReadAll(second); string(got) != "abc" || err != nil {
		t.Errorf("%q %v", got, err)
	}
}

// A dead attempt may be stuck in a read of a slow client's body. What it gets then belongs to the next one.
func TestReadOfADeadAttemptIsNotLost(t *testing.T) {
	slow, client := net.Pipe()
	b := newRequestBody(&http.Request{Body: slow, ContentLength: -1}, 100, true)
	first, _ := b.next()
	stuck := make(chan struct{})
	go func() {
		defer close(stuck)
		_, _ = first.Read(make([]byte, 2))
	}()
	_, _ = io.WriteString(client, "a") // the pipe hands it over: first is in its read
	<-stuck
	stuck = make(chan struct{})
	go func() {
		defer close(stuck)
		_, _ = first.Read(make([]byte, 2))
	}()
	_, _ = client.Write(nil)
	second, err := b.next() // does not block
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(client, "bc")
		_ = client.Close()
	}()
	if got, err := io.ReadAll(second); string(got) != "abc" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	<-stuck
	b.close()
}

// gatedBody gives 10 bytes, and the rest once it is let go on.
type gatedBody struct {
	rest    io.Reader
	begun   bool
	entered chan struct{} // closed when the rest is asked for
	goOn    chan struct{}
	once    sync.Once
}

func newGatedBody() *gatedBody {
	return &gatedBody{rest: strings.NewReader(strings.Repeat("b", 20)), entered: make(chan struct{}), goOn: make(chan struct{})}
}

func (g *gatedBody) Read(p []byte) (int, error) {
	if !g.begun {
		g.begun = true
		return copy(p, "aaaaaaaaaa"), nil
	}
	g.once.Do(func() { close(g.entered) })
	<-g.goOn
	return g.rest.Read(p)
}

// What a dead attempt was just reading belongs to the next, though it is more than is kept of a body that is long: only what
// the present attempt reads is not had again.
func TestReadOfADeadAttemptThatIsLargeIsNotLost(t *testing.T) {
	for _, tt := range []struct {
		name string
		ends func(b *requestBody, first io.ReadCloser, read func()) (io.ReadCloser, error)
	}{
		{"under the next one", func(b *requestBody, _ io.ReadCloser, read func()) (io.ReadCloser, error) {
			second, err := b.next()
			read()
			return second, err
		}},
		{"before the next one", func(b *requestBody, _ io.ReadCloser, read func()) (io.ReadCloser, error) {
			if !b.reclaim() {
				t.Error("a body of which little was read is not to be had")
			}
			read()
			return b.next()
		}},
		{"before that is asked for", func(b *requestBody, first io.ReadCloser, read func()) (io.ReadCloser, error) {
			_ = first.Close() // as net/http does when it gives up
			read()
			if !b.reclaim() {
				t.Error("a body that nobody wants any more was lost to nobody")
			}
			return b.next()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := newGatedBody()
			b := bodyOf(src, -1, 16)
			first, _ := b.next()
			if _, err := io.ReadFull(first, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			stuck := make(chan struct{})
			go func() {
				defer close(stuck)
				_, _ = first.Read(make([]byte, 32))
			}()
			<-src.entered
			second, err := tt.ends(b, first, func() {
				close(src.goOn)
				<-stuck
			})
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Repeat("a", 10) + strings.Repeat("b", 20)
			if got, err := io.ReadAll(second); string(got) != want || err != nil {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

func TestBodyOfWhichTheBeginningIsGoneIsNotHadAgain(t *testing.T) {
	b := bodyOf(strings.NewReader("abcdef"), -1, 2)
	first, _ := b.next()
	_, _ = io.ReadFull(first, make([]byte, 4))
	if b.reclaim() {
		t.Error("said to be there")
	}
	if _, err := b.next(); !errors.Is(err, errLost) {
		t.Errorf("error %v: a body without its beginning must not be sent", err)
	}
	if got, err := io.ReadAll(first); string(got) != "ef" || err != nil {
		t.Errorf("the attempt that has it is not left alone: %q %v", got, err)
	}
}

func TestSourceIsClosedOnceAfterTheLastAttempt(t *testing.T) {
	closed := make(chan struct{})
	b := newRequestBody(&http.Request{Body: &closing{Reader: strings.NewReader("x"), closed: closed}, ContentLength: 1}, 100, true)
	first, _ := b.next()
	_ = first.Close()
	second, _ := b.next()
	b.end()
	select {
	case <-closed:
		t.Error("closed under the last attempt")
	default:
	}
	_ = second.Close()
	<-closed
	b.end()
	b.close()
}

// A request that may not run twice is sent again only if no instance has begun with it, so little of it is kept; and nothing
// of any once the answer is there.
func TestLittleIsKeptOfABodyThatIsNotSentAgain(t *testing.T) {
	text := strings.Repeat("x", maxUnsafe)
	b := newRequestBody(&http.Request{Body: io.NopCloser(strings.NewReader(text + "y")), ContentLength: -1}, 1<<20, false)
	first, _ := b.next()
	_, _ = io.ReadFull(first, make([]byte, maxUnsafe))
	if !b.reclaim() {
		t.Fatalf("a body of %d bytes is not kept", maxUnsafe)
	}
	second, _ := b.next()
	if got, err := io.ReadAll(second); err != nil || string(got) != text+"y" || b.reclaim() || b.kept != nil {
		t.Errorf("%d bytes, %v, %d kept", len(got), err, len(b.kept))
	}
	b = bodyOf(strings.NewReader(text), -1, 1<<20)
	only, _ := b.next()
	_, _ = io.ReadFull(only, make([]byte, 10))
	b.end()
	if got, err := io.ReadAll(only); err != nil || len(got) != maxUnsafe-10 || b.kept != nil {
		t.Errorf("%d bytes after the answer, %v, %d kept", len(got), err, len(b.kept))
	}
}

func TestAttemptsSideBySideShareABodyThatIsThere(t *testing.T) {
	b := bodyOf(strings.NewReader("abc"), -1, 100)
	first, _ := b.next()
	if _, ok := b.share(); ok {
		t.Error("a body of which nothing is there is shared")
	}
	if got, err := io.ReadAll(first); string(got) != "abc" || err != nil {
		t.Fatal(string(got), err)
	}
	for range 2 {
		beside, ok := b.share()
		if !ok {
			t.Fatal("not shared")
		}
		if got, err := io.ReadAll(beside); string(got) != "abc" || err != nil {
			t.Errorf("%q %v", got, err)
		}
	}
}

func TestConnKnowsWhetherAnythingWasWritten(t *testing.T) {
	a, b := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, b) }()
	c := &countedConn{Conn: a}
	_, _ = c.Write([]byte("earlier request"))
	mark := c.mark()
	if !c.seal(mark) {
		t.Error("nothing was written since the mark")
	}
	if _, err := c.Write([]byte("late")); !errors.Is(err, errSealed) {
		t.Errorf("a write after the proof: %v", err)
	}
	_ = a.Close()
	_ = b.Close()

	a, b = net.Pipe()
	c = &countedConn{Conn: a}
	_ = b.Close()
	if _, err := c.Write([]byte("x")); err == nil || !c.seal(0) {
		t.Errorf("a write that failed whole wrote nothing: %v", err)
	}
	_ = a.Close()
}

func TestShapeOfAPathKeepsWordsAndDropsIDs(t *testing.T) {
	for _, same := range [][2]string{
		{"/orders/17/items", "/orders/18/items"},
		{"/orders/17", "/orders/3fa85f64-5717-4562-b3fc-2c963f66afa6"},
		{"/a/b/c/d", "/a/b/c/e"},
		{"", "/"},
		{"/x/", "/x"},
		{"/" + strings.Repeat("a", 30), "/" + strings.Repeat("b", 30)},
	} {
		if shape("GET", same[0]) != shape("GET", same[1]) {
			t.Errorf("%q and %q differ", same[0], same[1])
		}
	}
	if shape("GET", "/orders") == shape("GET", "/products") || shape("GET", "/orders") == shape("PUT", "/orders") {
		t.Error("different requests have one shape")
	}
	var l latencies
	one, all := l.of("GET", "/orders/1")
	two, _ := l.of("GET", "/orders/2")
	other, allToo := l.of("GET", "/products")
	if one != two || one == other || all != allToo || one == all {
		t.Error("one shape has two latencies, or two have one")
	}
	for i := range 10 * maxShapes {
		for _, m := range []string{"GET", "PUT"} {
			l.of(m, "/x"+strings.Repeat("y", i%20)+"/"+string(rune('a'+i%26))+"/"+strings.Repeat("z", i%24))
		}
		l.of(strings.Repeat("M", i), "/")
	}
	if n := len(*l.shapes.Load()); n > 2*maxShapes {
		t.Errorf("%d latencies are kept", n)
	}
}
