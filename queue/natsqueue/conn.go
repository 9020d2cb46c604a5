package natsqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// ping bounds how long the connection stays with a server that is frozen: two of them.
	ping        = time.Second
	dialTimeout = 2 * time.Second
	redialMin   = 50 * time.Millisecond
	redialMax   = time.Second
	// adminTimeout bounds one request to the server that is about streams and consumers: another one may lead after.
	adminTimeout = 5 * time.Second
	// tryTimeout bounds what is done with several of them before it is begun again.
	tryTimeout = 3 * time.Second
)

// link is the connection of an engine, made when it is first needed and again whenever it breaks.
type link struct {
	cfg  Config
	log  *slog.Logger
	once sync.Once
	made chan struct{} // closed when conn, js and replies, or err, are set
	quit chan struct{} // closed by close

	conn    *nats.Conn
	js      jetstream.JetStream
	replies *mux
	err     error

	mu     sync.Mutex
	up     chan struct{} // closed while there is a connection
	why    error         // why there is none
	closed bool
}

func newLink(cfg Config) *link {
	return &link{cfg: cfg, log: cfg.Logger, made: make(chan struct{}), quit: make(chan struct{}), up: make(chan struct{})}
}

// get returns when there is a connection.
func (l *link) get(ctx context.Context) error {
	l.once.Do(func() { go l.dial() })
	select {
	case <-l.made:
	case <-ctx.Done():
		return l.none(ctx)
	}
	if l.err != nil {
		return l.err
	}
	l.mu.Lock()
	up, closed := l.up, l.closed
	l.mu.Unlock()
	if closed {
		return errClosed
	}
	select {
	case <-up:
		return nil
	default:
	}
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return l.none(ctx)
	}
}

// none is the error of who has waited for a connection.
func (l *link) none(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why != nil {
		return fmt.Errorf("nats: no connection (%w): %w", l.why, context.Cause(ctx))
	}
	return fmt.Errorf("nats: no connection: %w", context.Cause(ctx))
}

var errClosed = errors.New("nats: the engine is closed")

func (l *link) dial() {
	defer close(l.made)
	options := []nats.Option{
		nats.Name(l.cfg.Name), nats.Timeout(dialTimeout), nats.PingInterval(ping), nats.MaxPingsOutstanding(2),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.IgnoreDiscoveredServers(),
		nats.IgnoreAuthErrorAbort(), // a token may be written, or changed at the servers, later
		nats.CustomReconnectDelay(func(attempts int) time.Duration { return min(redialMin<<min(attempts, 10), redialMax) }),
		nats.FlusherTimeout(5 * time.Second),
		nats.ConnectHandler(func(*nats.Conn) { l.isUp() }),
		nats.ReconnectHandler(func(*nats.Conn) { l.isUp() }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { l.isDown(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { l.isDown(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.log.Warn("nats", "error", err) }),
	}
	if l.cfg.Dial != nil {
		options = append(options, nats.SetCustomDialer(dialer{l.cfg.Dial}))
	}
	servers := make([]string, 0, len(l.cfg.Servers))
	t, err := l.cfg.tlsConfig()
	for ; err != nil; t, err = l.cfg.tlsConfig() { // the file may be written later
		l.log.Warn("nats", "error", err)
		l.isDown(err)
		select {
		case <-time.After(redialMax):
		case <-l.quit:
			l.err = errClosed
			return
		}
	}
	scheme := "nats://"
	if t != nil {
		scheme = "tls://"
		options = append(options, nats.Secure(t))
	}
	for _, s := range l.cfg.Servers {
		servers = append(servers, scheme+s)
	}
	switch {
	case l.cfg.TokenFile != "":
		options = append(options, nats.TokenHandler(l.token))
	case l.cfg.Token != "":
		options = append(options, nats.Token(l.cfg.Token))
	case l.cfg.Username != "":
		options = append(options, nats.UserInfo(l.cfg.Username, l.cfg.Password))
	}
	if l.conn, err = nats.Connect(strings.Join(servers, ","), options...); err != nil {
		l.err = fmt.Errorf("nats: %w", err)
		return
	}
	if l.js, err = jetstream.New(l.conn, jetstream.WithDefaultTimeout(adminTimeout)); err == nil {
		l.replies, err = newMux(l.conn)
	}
	if err != nil {
		l.conn.Close()
		l.err = fmt.Errorf("nats: %w", err)
		return
	}
	if l.conn.IsConnected() {
		l.isUp()
	}
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		l.conn.Close()
	}
}

// dialer makes connections for a client that gives it no time.
type dialer struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Dial implements nats.CustomDialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	return d.dial(ctx, network, address)
}

func (l *link) token() string {
	b, err := os.ReadFile(l.cfg.TokenFile)
	if err != nil {
		l.log.Warn("read the token of nats", "error", err)
	}
	return strings.TrimSpace(string(b))
}

func (l *link) isUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.up:
	default:
		close(l.up)
		l.why = nil
	}
}

func (l *link) isDown(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.why = err
	}
	select {
	case <-l.up:
		l.up = make(chan struct{})
	default:
	}
}

// close ends the connection, after what was written has left.
func (l *link) close() {
	l.once.Do(func() {
		l.err = errClosed
		close(l.made)
	})
	l.mu.Lock()
	was := l.closed
	l.closed = true
	l.mu.Unlock()
	if was {
		return
	}
	close(l.quit)
	select {
	case <-l.made:
	default: // dial sees that it is closed
		return
	}
	if l.conn == nil {
		return
	}
	if l.conn.IsConnected() {
		_ = l.conn.FlushTimeout(time.Second)
	}
	l.conn.Close()
}

// mux matches answers to what was sent: one subscription for all.
type mux struct {
	conn   *nats.Conn
	prefix string
	mu     sync.Mutex
	next   uint64
	calls  map[uint64]*call
}

// call waits for the answers to n messages.
type call struct {
	mux     *mux
	id      uint64
	inbox   string
	answers chan answer
}

type answer struct {
	i   int
	msg *nats.Msg
}

func newMux(conn *nats.Conn) (*mux, error) {
	m := &mux{conn: conn, prefix: "_INBOX." + rand.Text() + ".", calls: make(map[uint64]*call)}
	sub, err := conn.Subscribe(m.prefix+"*.*", m.handle)
	if err != nil {
		return nil, err
	}
	return m, sub.SetPendingLimits(-1, -1)
}

func (m *mux) open(n int) *call {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	c := &call{mux: m, id: m.next, inbox: m.prefix + strconv.FormatUint(m.next, 36) + ".", answers: make(chan answer, n)}
	m.calls[c.id] = c
	return c
}

func (c *call) close() {
	c.mux.mu.Lock()
	defer c.mux.mu.Unlock()
	delete(c.mux.calls, c.id)
}

// reply is where the answer to message i goes.
func (c *call) reply(i int) string { return c.inbox + strconv.Itoa(i) }

func (m *mux) handle(msg *nats.Msg) {
	id, i, ok := strings.Cut(msg.Subject[len(m.prefix):], ".")
	if !ok {
		return
	}
	n, err := strconv.ParseUint(id, 36, 64)
	if err != nil {
		return
	}
	k, err := strconv.Atoi(i)
	if err != nil {
		return
	}
	m.mu.Lock()
	c := m.calls[n]
	m.mu.Unlock()
	if c == nil {
		return
	}
	select {
	case c.answers <- answer{k, msg}:
	default: // more answers than messages: something was sent twice, and both were answered
	}
}

// noResponders reports whether nobody took what was sent.
func noResponders(msg *nats.Msg) bool {
	return len(msg.Data) == 0 && msg.Header.Get("Status") == "503"
}
