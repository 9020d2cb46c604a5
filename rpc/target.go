package rpc

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/resilience"
)

// maxMethods bounds what is kept about methods: a proxy calls by whatever name it is given.
const maxMethods = 4096

// dialer is what one DialOptions makes: the targets that are dialled with it.
type dialer struct {
	cfg     ClientConfig
	last    atomic.Pointer[dialled] // used last; nearly always the only one
	targets sync.Map                // canonical target string → *target
}

// dialled is a connection and its target.
type dialled struct {
	cc     *grpc.ClientConn
	target *target
}

// target is what a client knows of one service: everything that outlives a connection, a picker or a call.
type target struct {
	service string
	cfg     ClientConfig
	budget  *resilience.Budget
	guard   *resilience.Guard
	alarms  alarms

	balancer *balance.Balancer
	prober   prober
	roster   roster

	rules   atomic.Pointer[rules]
	seen    atomic.Uint64 // the version of all policies, of when rules was made
	changes sync.Mutex    // held to change rules and what follows

	subset    int                         // how many instances are used
	resolvers map[*watchResolver]struct{} // of its connections

	methods sync.Map // full method name → *method
	count   atomic.Int64
	other   *method // of those beyond maxMethods

	background context.Context //nolint:containedctx // for log records, which belong to no call
}

func newTarget(service string, cfg ClientConfig) *target {
	t := &target{
		service:    service,
		cfg:        cfg,
		budget:     resilience.NewBudget(cfg.Policy.Budget),
		guard:      resilience.NewGuard(cfg.Policy),
		other:      &method{},
		subset:     cfg.Balance.Subset,
		resolvers:  make(map[*watchResolver]struct{}),
		background: context.Background(),
	}
	t.balancer = balance.New(t.balance(cfg.Balance))
	t.rules.Store(&rules{policy: cfg.Policy})
	return t
}

// balance returns cfg with ejections and re-admissions logged.
func (t *target) balance(cfg balance.Config) balance.Config {
	told := cfg.OnEject
	cfg.OnEject = func(e balance.Event) {
		attrs := []slog.Attr{slog.String("service", t.service), slog.String("instance", e.ID), slog.String("reason", e.Reason)}
		if e.Ejected {
			t.cfg.Logger.LogAttrs(t.background, slog.LevelWarn, "rpc client: instance ejected", append(attrs, slog.Int("times", e.Times))...)
		} else {
			t.cfg.Logger.LogAttrs(t.background, slog.LevelInfo, "rpc client: instance re-admitted", append(attrs, slog.Duration("after", e.Out))...)
		}
		if told != nil {
			told(e)
		}
	}
	return cfg
}

// follow has r repeat itself when another part of the instances is used, until unfollow.
func (t *target) follow(r *watchResolver) {
	t.changes.Lock()
	t.resolvers[r] = struct{}{}
	t.changes.Unlock()
}

func (t *target) unfollow(r *watchResolver) {
	t.changes.Lock()
	delete(t.resolvers, r)
	t.changes.Unlock()
}

// use uses that many instances from now on. t.changes is held.
func (t *target) use(subset int) {
	if subset == t.subset {
		return
	}
	t.subset = subset
	for r := range t.resolvers {
		select {
		case r.again <- struct{}{}:
		default: // it is about to
		}
	}
}

// target returns the target that was dialled by name.
func (d *dialer) target(name, service string) *target {
	if t, ok := d.targets.Load(name); ok {
		return t.(*target)
	}
	actual, _ := d.targets.LoadOrStore(name, newTarget(service, d.cfg))
	return actual.(*target)
}

// of returns the target of a connection.
func (d *dialer) of(cc *grpc.ClientConn) *target {
	if l := d.last.Load(); l != nil && l.cc == cc {
		return l.target
	}
	name := cc.CanonicalTarget()
	t := d.target(name, name[strings.LastIndexByte(name, '/')+1:])
	t.prober.conn.Store(cc)
	d.last.Store(&dialled{cc, t})
	return t
}

// method returns what is known of a method, by its full name, and on what terms it is called now.
func (t *target) method(name string) (*method, *terms) {
	r := t.current()
	m := t.known(name)
	if now := m.terms.Load(); now != nil && now.rules == r {
		return m, now
	}
	if m == t.other {
		return m, t.terms(newMethod(name), r)
	}
	now := t.terms(m, r)
	m.terms.Store(now)
	return m, now
}

func (t *target) known(name string) *method {
	if m, ok := t.methods.Load(name); ok {
		return m.(*method)
	}
	if t.count.Load() >= maxMethods {
		return t.other
	}
	m := newMethod(name)
	m.latency = new(resilience.Latency)
	actual, loaded := t.methods.LoadOrStore(name, m)
	if !loaded {
		t.count.Add(1)
	}
	return actual.(*method)
}

// newMethod returns a method of which nothing was measured.
func newMethod(name string) *method {
	return &method{name: name, safe: declaredSafe(name), pure: declared(name) == descriptorpb.MethodOptions_NO_SIDE_EFFECTS}
}

// declaredSafe reports whether the definition of a method says that it may run twice.
func declaredSafe(fullMethod string) bool {
	return declared(fullMethod) != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}

// declared returns the idempotency_level that the protobuf definition of a method, if it is linked in, gives it.
func declared(fullMethod string) descriptorpb.MethodOptions_IdempotencyLevel {
	name := strings.ReplaceAll(strings.TrimPrefix(fullMethod, "/"), "/", ".")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
	}
	m, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
	}
	opts, _ := m.Options().(*descriptorpb.MethodOptions)
	return opts.GetIdempotencyLevel() // of none, too
}
