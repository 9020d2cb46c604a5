package fault

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// DialFunc makes connections, as net.Dialer.DialContext does.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// Injector does to a process what a Plan says. A nil one does nothing: its methods return what they are given, and cost nothing.
// Make one with New or Follow. Safe for concurrent use.
type Injector struct {
	// conns are those that were wrapped and are open. Whoever adds one looks at the plan afterwards, and whoever changes the plan
	// looks at conns afterwards, so that none is missed.
	conns sync.Map // *conn to struct{}
	plan  atomic.Pointer[Plan]
	first chan struct{} // closed once there is a plan, or none is waited for any more

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change of the plan

	loading sync.Mutex // not mu, which calls and connections wait for
	ballast []byte

	suffered atomic.Uint64
	random   func() float64 // in [0, 1)

	stop func() // of following; nil if there is none
}

// synPatience is how long Linux waits for the answer to a SYN (tcp_syn_retries 6).
const synPatience = 127 * time.Second

// New returns an Injector without a plan.
func New() *Injector {
	i := newInjector()
	close(i.first)
	return i
}

func newInjector() *Injector {
	i := &Injector{first: make(chan struct{}), changed: make(chan struct{}), random: rand.Float64}
	i.plan.Store(&Plan{})
	return i
}

// Set puts a plan, which is valid, in force for all that i has wrapped, open connections included, before it returns. The
// caller does not change it afterwards.
func (i *Injector) Set(plan Plan) {
	if i == nil {
		return
	}
	i.mu.Lock()
	i.plan.Store(&plan)
	close(i.changed)
	i.changed = make(chan struct{})
	i.conns.Range(func(c, _ any) bool {
		c.(*conn).refresh(false)
		return true
	})
	i.mu.Unlock()
	i.load()
}

// Close lifts the plan, for good if it is an agent's.
func (i *Injector) Close() error {
	if i == nil {
		return nil
	}
	if i.stop != nil {
		i.stop()
	}
	i.Set(Plan{})
	return nil
}

// Suffered counts what the plans did: pieces of connections held back, connections reset or refused, calls and file
// operations failed.
func (i *Injector) Suffered() uint64 {
	if i == nil {
		return 0
	}
	return i.suffered.Load()
}

// current returns the plan, and what is closed when it changes.
func (i *Injector) current() (*Plan, <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.plan.Load(), i.changed
}

// link returns the shape of connections to one of addrs.
func (p *Plan) link(addrs ...string) Shape {
	for _, l := range p.Dial {
		for _, to := range l.To {
			if to == "*" || to != "" && slices.Contains(addrs, to) {
				return l.Shape
			}
		}
	}
	return Shape{}
}

func (i *Injector) shapeOf(c *conn) Shape {
	plan := i.plan.Load()
	if c.addr != "" {
		return plan.link(c.addr, c.RemoteAddr().String(), c.name)
	}
	if plan.Accept != nil {
		return *plan.Accept
	}
	return Shape{}
}

// wrap takes over a connection, made to addr, or accepted if that is "", for what is called name, or nothing of that.
func (i *Injector) wrap(c net.Conn, addr, name string) net.Conn {
	w := newConn(i, c, addr, name)
	i.conns.Store(w, struct{}{})
	w.refresh(true)
	return w
}

// Dial returns next with the plan's rules of Dial: while one of them cuts an address off, connecting to it takes until ctx
// ends, or two minutes. A next that is nil is net.Dialer's. On a nil Injector it returns next.
func (i *Injector) Dial(next DialFunc) DialFunc {
	if i == nil {
		return next
	}
	if next == nil {
		next = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		begun := time.Now()
		name, _ := ctx.Value(nameKey{}).(string)
		for addrs := []string{addr, name}; ; {
			if err := i.connect(ctx, begun, addrs...); err != nil {
				return nil, &net.OpError{Op: "dial", Net: network, Addr: address{network, addr}, Err: err}
			}
			c, err := next(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			// A rule may know where it went by another name than the caller.
			addrs = []string{addr, c.RemoteAddr().String(), name}
			if s := i.plan.Load().link(addrs...); !s.Refuse && !s.CutIn && !s.CutOut {
				return i.wrap(c, addr, name), nil
			}
			abort(c)
		}
	}
}

// ToQueue is an address that stands, in a Link, for all connections of the client of an engine for messages, wherever they go: many
// engines tell their clients other addresses than those that the clients were given.
const ToQueue = "queue:0"

type nameKey struct{}

// Named returns wrap such that its connections are also meant by rules for name, such as ToQueue. wrap may be nil, which stays.
func Named(wrap func(next DialFunc) DialFunc, name string) func(next DialFunc) DialFunc {
	if wrap == nil {
		return nil
	}
	return func(next DialFunc) DialFunc {
		dial := wrap(next)
		return func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dial(context.WithValue(ctx, nameKey{}, name), network, addr)
		}
	}
}

// connect suffers what comes before a connection. Its error is what a kernel would say.
func (i *Injector) connect(ctx context.Context, begun time.Time, addrs ...string) error {
	select {
	case <-i.first:
	case <-ctx.Done():
		return ctx.Err()
	}
	for counted := false; ; {
		plan, changed := i.current()
		s := plan.link(addrs...)
		until := begun.Add(synPatience)
		switch {
		case s.Refuse:
			i.suffered.Add(1)
			return os.NewSyscallError("connect", syscall.ECONNREFUSED)
		case s.CutIn || s.CutOut: // a SYN or its answer is lost
		default:
			if until = begun.Add(2*s.Delay + time.Duration(i.random()*float64(2*s.Jitter))); !time.Now().Before(until) {
				return nil
			}
		}
		if !counted {
			counted = true
			i.suffered.Add(1)
		}
		t := time.NewTimer(time.Until(until))
		select {
		case <-changed:
		case <-t.C:
			if s.CutIn || s.CutOut {
				return os.NewSyscallError("connect", syscall.ETIMEDOUT)
			}
			return nil
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		t.Stop()
	}
}

// address is where a connection could not be made to.
type address struct{ network, addr string }

// Network implements net.Addr.
func (a address) Network() string { return a.network }

// String implements net.Addr.
func (a address) String() string { return a.addr }

// Listen returns l with the plan's shape of Accept.
func (i *Injector) Listen(l net.Listener) net.Listener {
	if i == nil || l == nil {
		return l
	}
	return &listener{Listener: l, inj: i}
}

type listener struct {
	net.Listener
	inj *Injector
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		<-l.inj.first
		if s := l.inj.plan.Load().Accept; s != nil && s.Refuse {
			abort(c)
			l.inj.suffered.Add(1)
			continue
		}
		return l.inj.wrap(c, "", ""), nil
	}
}

// abort closes a connection so that the other end sees a reset, as good as it gets.
func abort(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = c.Close()
}

// Call suffers what is planned for a call that this process serves: it waits, and returns the code to answer with instead of
// what the handler would, or "" if the handler is to run. Of gRPC, method is "" and name the full method; of HTTP they are the
// request's method and path. exempt says that the call is one of those that look after the process, which only
// rules that name it are for.
func (i *Injector) Call(ctx context.Context, method, name string, exempt bool) (code string) {
	if i == nil {
		return ""
	}
	plan, changed := i.current()
	rule := plan.call(method, name, exempt)
	if rule == nil || i.random() >= rule.Share {
		return ""
	}
	i.suffered.Add(1)
	if rule.Delay <= 0 {
		return rule.Code
	}
	t := time.NewTimer(rule.Delay)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return rule.Code
		case <-ctx.Done():
			return rule.Code
		case <-changed:
		}
		plan, changed = i.current()
		if now := plan.call(method, name, exempt); now == nil || !reflect.DeepEqual(now, rule) {
			return "" // it was lifted, and nobody waits for what is not broken any more
		}
	}
}

// call returns the rule for a call, as Injector.Call has it, nil if there is none.
func (p *Plan) call(method, name string, exempt bool) *Calls {
	for n := range p.Calls {
		if p.Calls[n].matches(method, name, exempt) {
			return &p.Calls[n]
		}
	}
	return nil
}

// File suffers what is planned for an operation on a file whose loss would lose what was acknowledged: "write", "sync" or
// another one that needs no space. What it returns is what the operation returns.
func (i *Injector) File(op string) error {
	if i == nil {
		return nil
	}
	<-i.first
	d := i.plan.Load().Disk
	if d == nil {
		return nil
	}
	switch {
	case d.Full && op == "write":
		i.suffered.Add(1)
		return os.NewSyscallError(op, syscall.ENOSPC)
	case op == "sync" && (d.SlowSync > 0 || d.FailSync):
		i.suffered.Add(1)
		if d = i.slowSync(); d != nil && d.FailSync {
			return os.NewSyscallError(op, syscall.EIO)
		}
	}
	return nil
}

// slowSync waits for as long as a sync takes by the plan, which may be lifted meanwhile, and returns what is in force then.
func (i *Injector) slowSync() *Disk {
	begun := time.Now()
	for {
		plan, changed := i.current()
		d := plan.Disk
		if d == nil {
			return nil
		}
		left := d.SlowSync - time.Since(begun)
		if left <= 0 {
			return d
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
			return d
		case <-changed:
		}
		t.Stop()
	}
}

// load takes memory, and gives it back, as the plan of now says.
func (i *Injector) load() {
	i.loading.Lock()
	defer i.loading.Unlock()
	size := i.plan.Load().Ballast
	if int64(len(i.ballast)) == size {
		return
	}
	i.ballast = nil
	if size > 0 {
		i.ballast = make([]byte, size)
		for at := int64(0); at < size; at += 4096 { // a page that was never written to takes none
			i.ballast[at] = 1
		}
	}
}
