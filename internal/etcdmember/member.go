package etcdmember

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

const (
	// callTimeout bounds a call whose ctx has no deadline.
	callTimeout = 3 * time.Second
	// attemptTimeout is how long one member may take while another could be asked.
	attemptTimeout = time.Second
	// avoidFor is how long a member that failed is asked last.
	avoidFor = 5 * time.Second
	// reconnectMax is how late a connection notices that a dead member is back. gRPC's own default is two minutes.
	reconnectMax = time.Second
	// A member with watches is asked something this often, and its watches move when it does not answer in time:
	// a stopped process keeps its connections, and gRPC's keepalive cannot be set below ten seconds.
	probeEvery   = time.Second
	probeTimeout = 1500 * time.Millisecond
)

// member is one etcd server, on a connection of its own, so that leaving a frozen one is our decision.
type member struct {
	cluster  *Cluster
	endpoint string
	given    bool // the connection is made by a client of the user's
	dial     func() (*Session, error)

	mu       sync.Mutex
	session  *Session
	dialing  *dialing
	avoid    time.Time // asked last until then
	watchers map[*Watch]struct{}
	probing  bool
}

// Session is a connection to one member and the clients on it.
type Session struct {
	KV    clientv3.KV
	Lease pb.LeaseClient

	m     *member
	conn  *grpc.ClientConn
	watch pb.WatchClient
	close func() error
}

type dialing struct {
	done    chan struct{}
	session *Session
	err     error
}

func newMember(cluster *Cluster, endpoint string, cfg Config) *member {
	m := &member{cluster: cluster, endpoint: endpoint, given: cfg.Client != nil, watchers: make(map[*Watch]struct{})}
	m.dial = func() (*Session, error) {
		if cfg.Client != nil {
			conn, err := cfg.Client.Dial(endpoint)
			if err != nil {
				return nil, err
			}
			return m.newSession(conn, conn.Close), nil
		}
		options := []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMax},
			MinConnectTimeout: attemptTimeout,
		})}
		if cfg.Dial != nil {
			options = append(options, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				return cfg.Dial(ctx, "tcp", address)
			}))
		}
		c, err := clientv3.New(clientv3.Config{
			Context: cluster.ctx, Endpoints: []string{endpoint}, TLS: cfg.TLS, Username: cfg.Username, Password: cfg.Password,
			DialTimeout:          attemptTimeout, // of the first authentication; nothing else waits in New
			DialKeepAliveTime:    10 * time.Second,
			DialKeepAliveTimeout: 2 * time.Second,
			MaxUnaryRetries:      2,            // one more, with a new token
			Logger:               zap.NewNop(), // what fails is an error of the call, and logged once by whoever made it
			DialOptions:          options,
		})
		if err != nil {
			return nil, err
		}
		return m.newSession(c.ActiveConnection(), c.Close), nil
	}
	return m
}

func (m *member) newSession(conn *grpc.ClientConn, closer func() error) *Session {
	c := callConn{conn}
	return &Session{
		m: m, conn: conn, KV: clientv3.NewKVFromKVClient(pb.NewKVClient(c), nil),
		Lease: pb.NewLeaseClient(c), watch: pb.NewWatchClient(c), close: closer,
	}
}

// callConn sets the options of all calls. The etcd client's own would have a call wait for a dead member to come back,
// when it should fail at once and say why.
type callConn struct{ grpc.ClientConnInterface }

func (c callConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, append(opts, grpc.MaxCallRecvMsgSize(maxMessage))...)
}

func (c callConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.ClientConnInterface.NewStream(ctx, desc, method, append(opts, grpc.MaxCallRecvMsgSize(maxMessage))...)
}

// connect returns the member's session. With a password the first one takes a round trip, which may outlive ctx.
func (m *member) connect(ctx context.Context) (*Session, error) {
	m.mu.Lock()
	if m.session != nil {
		defer m.mu.Unlock()
		return m.session, nil
	}
	dl := m.dialing
	if dl == nil {
		dl = &dialing{done: make(chan struct{})}
		started := m.cluster.spawn(func() {
			dl.session, dl.err = m.dial()
			m.mu.Lock()
			m.session, m.dialing = dl.session, nil
			m.mu.Unlock()
			close(dl.done)
		})
		if !started {
			m.mu.Unlock()
			return nil, ErrClosed
		}
		m.dialing = dl
	}
	m.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-dl.done:
		return dl.session, dl.err
	}
}

func (m *member) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return nil
	}
	err := m.session.close()
	m.session = nil
	if errors.Is(err, context.Canceled) {
		return nil // the client says so of its own ctx
	}
	return err
}

// Do runs f on the member that answered last, and on the others in turn while they do not answer. f must be safe to
// run again after an attempt whose outcome is unknown.
func (c *Cluster) Do(ctx context.Context, f func(context.Context, *Session) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()
	ctx = clientv3.WithRequireLeader(ctx)
	var errs silence
	order := c.order()
	for i, m := range order {
		err := m.try(ctx, len(order)-i-1, f)
		switch {
		case c.ctx.Err() != nil:
			return ErrClosed
		case err == nil:
			c.prefer(m)
			return nil
		case !unanswered(err):
			return err
		}
		m.shun()
		errs = append(errs, fmt.Errorf("%s: %w", m.endpoint, err))
		if ctx.Err() != nil {
			break
		}
	}
	return errs
}

// try runs f on m, leaving time for the others.
func (m *member) try(ctx context.Context, others int, f func(context.Context, *Session) error) error {
	if others > 0 {
		deadline, _ := ctx.Deadline()
		share := time.Until(deadline) / time.Duration(others+1)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, min(share, attemptTimeout))
		defer cancel()
	}
	s, err := m.connect(ctx)
	if err != nil {
		return err
	}
	if m.given && s.conn.GetState() == connectivity.TransientFailure {
		// Its dial options are not ours, and gRPC's default waits for up to two minutes before it dials again.
		s.conn.ResetConnectBackoff()
	}
	return f(ctx, s)
}

// order returns the members in the order to ask them: those that failed lately last, the current one else first.
func (c *Cluster) order() []*member {
	c.mu.Lock()
	current := c.current
	c.mu.Unlock()
	now := time.Now()
	var good, bad []*member
	for i := range c.members {
		m := c.members[(current+i)%len(c.members)]
		m.mu.Lock()
		shunned := now.Before(m.avoid)
		m.mu.Unlock()
		if shunned {
			bad = append(bad, m)
		} else {
			good = append(good, m)
		}
	}
	return append(good, bad...)
}

func (c *Cluster) prefer(m *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.members {
		if c.members[i] == m {
			c.current = i
		}
	}
}

func (m *member) shun() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.avoid = time.Now().Add(avoidFor)
}

// unanswered reports whether another member may do better.
func unanswered(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	code := status.Code(err)
	var etcdErr rpctypes.EtcdError
	if errors.As(err, &etcdErr) {
		code = etcdErr.Code()
	}
	return code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Internal
}

// silence is what each member's attempt came to when none of them answered.
type silence []error

func (s silence) Error() string {
	var b strings.Builder
	for i, err := range s {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

func (s silence) Unwrap() []error { return s }

// attach puts w under the member's probe.
func (m *member) attach(w *Watch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[w] = struct{}{}
	if !m.probing {
		m.probing = m.cluster.spawn(m.probe)
	}
}

func (m *member) detach(w *Watch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.watchers, w)
}

// probe asks the member something while it has watches, and ends them all when it does not answer.
func (m *member) probe() {
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		m.mu.Lock()
		if len(m.watchers) == 0 || m.cluster.ctx.Err() != nil {
			m.probing = false
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		select {
		case <-m.cluster.ctx.Done():
			continue
		case <-t.C:
		}
		if err := m.ping(); err != nil && m.cluster.ctx.Err() == nil {
			m.shun()
			m.mu.Lock()
			for w := range m.watchers {
				w.fail(fmt.Errorf("%s does not answer: %w", m.endpoint, err))
			}
			clear(m.watchers)
			m.mu.Unlock()
		}
	}
}

// ping returns an error if the member gives no answer at all; a refusal is an answer.
func (m *member) ping() error {
	ctx, cancel := context.WithTimeout(m.cluster.ctx, probeTimeout)
	defer cancel()
	s, err := m.connect(ctx)
	if err == nil {
		_, err = s.KV.Get(clientv3.WithRequireLeader(ctx), m.cluster.probe, clientv3.WithSerializable(), clientv3.WithCountOnly())
	}
	if unanswered(err) {
		return err
	}
	return nil
}
