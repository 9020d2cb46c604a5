package breakage

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// applyTimeout bounds how long Inject and Mend wait for the processes.
	applyTimeout = 3 * time.Second
	// mendTimeout bounds how long the end of a Keeper waits until all is mended.
	mendTimeout = 3 * time.Second
)

// System is what a Keeper breaks. All methods are called from many goroutines at once, but never two for the same process.
type System interface {
	// World is the system as it is. It answers from memory.
	World() World
	// Packets reports whether the processes are in a network that SetPackets shapes.
	Packets() bool
	// SetPackets says what becomes of packets because of a fault; no links end it. Ends are instances, control.Everybody and
	// control.EdgeEnd.
	SetPackets(faultID string, links []control.Link) error
	// SetPlan hands a process, or the platform itself (control.EdgeEnd), its plan, and waits until that is in force or ctx
	// ends. The plan stays that of the instance when it is started again.
	SetPlan(ctx context.Context, instance string, plan fault.Plan) error
	// Freeze and Thaw stop a process and let it go on; Slow gives it a share of the time, 0 for all of it.
	Freeze(instance string) error
	Thaw(instance string) error
	Slow(instance string, share float64) error
	// SetClock makes the wall clock of an instance wrong by so much, also when it is started again; 0 puts it right.
	SetClock(instance string, by time.Duration) error
	// Replicas is how many instances a service should have, and Scale changes that and waits for it.
	Replicas(service string) int
	Scale(ctx context.Context, service string, replicas int) error
	// HoldScale keeps others from scaling a service by themselves, until release is called.
	HoldScale(service string) (release func())
	// Publish tells whoever watches.
	Publish(control.Event)
}

// Config configures a Keeper. The zero value works.
type Config struct {
	// Logger gets what nobody is told otherwise. Default: discarded.
	Logger *slog.Logger
}

// Keeper keeps the faults of one system. It is a lifecycle Component, which mends everything when it ends. It implements
// part of control.Breaker. Safe for concurrent use.
type Keeper struct {
	sys System
	cfg Config
	tag string // part of the IDs: those of a former run mean nothing in this one

	wake chan struct{} // the world has changed, or a lease
	wg   sync.WaitGroup

	mu       sync.Mutex
	ended    bool
	ctx      context.Context //nolint:containedctx // that of Run, for the workers, which end with it
	last     int
	faults   []*control.Fault // in the order of their beginning
	patients map[string]*patient
	scales   map[string]*scaling
}

// New returns a Keeper. Faults are refused until it runs.
func New(sys System, cfg Config) *Keeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{
		sys: sys, cfg: cfg, tag: strings.ToLower(rand.Text()[:4]), wake: make(chan struct{}, 1), ended: true,
		patients: make(map[string]*patient), scales: make(map[string]*scaling),
	}
}

// Name implements lifecycle.Namer.
func (k *Keeper) Name() string { return "faults" }

// Changed tells that the world is another one: a process was started or has ended, or has begun to follow. It returns at once.
func (k *Keeper) Changed() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run ends leases and keeps up with the world until ctx ends. Then it mends everything, and returns when that is done, or
// after 3 s.
func (k *Keeper) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer k.wg.Wait()
	defer cancel()
	k.mu.Lock()
	k.ctx, k.ended = work, false
	k.mu.Unlock()
	for {
		next := k.expire(time.Now())
		timer := time.NewTimer(next)
		select {
		case <-k.wake:
			k.mu.Lock()
			k.treat()
			k.mu.Unlock()
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return k.mendAll(work)
		}
		timer.Stop()
	}
}

// mendAll ends every fault, and waits until nobody suffers any more.
func (k *Keeper) mendAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	k.mu.Lock()
	k.ended = true
	for len(k.faults) > 0 {
		k.end(0, "the system stops")
	}
	k.treat()
	for service := range k.scales {
		k.forget(service) // a system that stops has no scale
	}
	waits := k.pending()
	k.mu.Unlock()
	waitFor(ctx, waits)
	return nil
}

// Inject implements control.Breaker.
func (k *Keeper) Inject(ctx context.Context, req control.FaultRequest) (control.Fault, error) {
	if err := req.Validate(); err != nil {
		return control.Fault{}, err
	}
	k.mu.Lock()
	f, waits, err := k.begin(req)
	k.mu.Unlock()
	if err != nil {
		return control.Fault{}, err
	}
	k.Changed() // Run has to know when it ends
	waitFor(ctx, waits)
	// A request that has ended is not undone here: its lease does that, and whoever asks again gets another fault.
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.show(*f, k.sys.World()), nil
}

// begin is called with mu held.
func (k *Keeper) begin(req control.FaultRequest) (*control.Fault, []<-chan struct{}, error) {
	if k.ended {
		return nil, nil, failure.New(failure.FailedPrecondition, "the system is starting or stopping; nothing is broken then")
	}
	if len(k.faults) >= control.MaxFaults {
		return nil, nil, failure.New(failure.ResourceExhausted, "%d faults are in force; more are not kept", len(k.faults))
	}
	packets := k.sys.Packets()
	if err := check(req, k.sys.World(), packets); err != nil {
		return nil, nil, err
	}
	req.TTL = cmp.Or(req.TTL, control.DefaultTTL)
	k.last++
	now := time.Now()
	f := &control.Fault{ID: fmt.Sprintf("%s-%d", k.tag, k.last), FaultRequest: req, What: describe(req), Begun: now, Until: now.Add(req.TTL)}
	if links := packetLinks(req); packets && len(links) > 0 {
		if err := k.sys.SetPackets(f.ID, links); err != nil {
			return nil, nil, err
		}
	}
	k.faults = append(k.faults, f)
	if err := k.setClocks(req); err != nil {
		k.faults = k.faults[:len(k.faults)-1]
		return nil, nil, errors.Join(err, k.setClocks(req))
	}
	k.sys.Publish(control.Event{
		Time: now, Service: serviceOf(req, k.sys.World()), State: control.EventFaultBegun, Fault: f.ID, Message: "broken on purpose: " + f.What + note(req),
	})
	k.treat()
	return f, k.pending(touched(req)...), nil
}

// Renew implements control.Breaker.
func (k *Keeper) Renew(_ context.Context, id string) (control.Fault, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, err := k.find(id)
	if err != nil {
		return control.Fault{}, err
	}
	f := k.faults[n]
	f.Until = time.Now().Add(f.TTL)
	return k.show(*f, k.sys.World()), nil
}

// Mend implements control.Breaker.
func (k *Keeper) Mend(ctx context.Context, id string) error {
	k.mu.Lock()
	n, err := k.find(id)
	if err != nil {
		k.mu.Unlock()
		return err
	}
	req := k.faults[n].FaultRequest
	k.end(n, "")
	k.treat()
	waits := k.pending(touched(req)...)
	k.mu.Unlock()
	waitFor(ctx, waits)
	return nil
}

// Faults implements control.Breaker.
func (k *Keeper) Faults() []control.Fault {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.faults) == 0 {
		return nil
	}
	w := k.sys.World()
	out := make([]control.Fault, 0, len(k.faults))
	for _, f := range k.faults {
		out = append(out, k.show(*f, w))
	}
	return out
}

// show is a copy for others, with mu held.
func (k *Keeper) show(f control.Fault, w World) control.Fault {
	errs := make(map[string]error)
	for id, p := range k.patients {
		errs[id] = p.err
	}
	for service, s := range k.scales {
		if errs[service] = s.err; slices.Contains(s.overruled, f.ID) {
			errs[service] = errOverruled
		}
	}
	f.Trouble = trouble(f.FaultRequest, w, errs)
	return f
}

func (k *Keeper) find(id string) (int, error) {
	n := slices.IndexFunc(k.faults, func(f *control.Fault) bool { return f.ID == id })
	if n < 0 {
		return 0, failure.New(failure.NotFound, "no fault %.64q is in force: it was mended, or its lease ran out", id).
			WithReason(control.ReasonUnknownFault, control.Domain)
	}
	return n, nil
}

// end ends the n-th fault, with mu held. What follows from it is up to treat.
func (k *Keeper) end(n int, why string) {
	f := k.faults[n]
	k.faults = slices.Delete(k.faults, n, n+1)
	if k.sys.Packets() && len(packetLinks(f.FaultRequest)) > 0 {
		if err := k.sys.SetPackets(f.ID, nil); err != nil {
			k.cfg.Logger.Error("packets are still lost on purpose", "fault", f.ID, "error", err)
		}
	}
	if err := k.setClocks(f.FaultRequest); err != nil {
		k.cfg.Logger.Error("a clock is still wrong on purpose", "fault", f.ID, "error", err)
	}
	message := "mended: " + f.What + note(f.FaultRequest)
	if why != "" {
		message += "; " + why
	}
	now := time.Now()
	k.sys.Publish(control.Event{
		Time: now, Service: serviceOf(f.FaultRequest, k.sys.World()), State: control.EventFaultEnded, Fault: f.ID, Message: message,
	})
}

// expire ends what nobody has renewed and returns how long the next lease has yet.
func (k *Keeper) expire(now time.Time) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	next, ended := time.Hour, false
	for n := 0; n < len(k.faults); {
		left := k.faults[n].Until.Sub(now)
		if left > 0 {
			next = min(next, left)
			n++
			continue
		}
		k.end(n, fmt.Sprintf("nobody has renewed its lease for %s", k.faults[n].TTL))
		ended = true
	}
	if ended {
		k.treat()
	}
	return next
}

// treat makes everybody suffer what they should by now, and no more, with mu held. It does not wait.
func (k *Keeper) treat() {
	if len(k.faults)+len(k.patients)+len(k.scales) == 0 {
		return // as almost always, whatever happens in the system
	}
	w := k.sys.World()
	faults := make([]control.Fault, len(k.faults))
	for n, f := range k.faults {
		faults[n] = *f
	}
	wanted := compile(faults, w, k.sys.Packets())
	ids := slices.Sorted(maps.Keys(wanted))
	for id := range k.patients {
		if _, ok := wanted[id]; !ok {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		k.treatOne(id, wanted[id], w)
	}
	k.scale()
}

// pending are the ends of what the workers of some processes, or of all, have to do by now, with mu held.
func (k *Keeper) pending(ids ...string) []<-chan struct{} {
	var waits []<-chan struct{}
	for id, p := range k.patients {
		if p.idle != nil && (len(ids) == 0 || slices.Contains(ids, id) || slices.Contains(ids, control.Everybody)) {
			waits = append(waits, p.idle)
		}
	}
	return waits
}

// waitFor waits until all are closed: until ctx ends, or for applyTimeout.
func waitFor(ctx context.Context, waits []<-chan struct{}) {
	late := time.NewTimer(applyTimeout)
	defer late.Stop()
	for _, w := range waits {
		select {
		case <-w:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// touched are those for whom the beginning and the end of a fault wait: whom it names, or Everybody.
func touched(r control.FaultRequest) []string {
	ids := named(r)
	for _, l := range r.Links {
		for _, end := range slices.Concat(l.From, l.To) {
			if end == control.Everybody {
				return []string{control.Everybody}
			}
		}
	}
	return append(ids, "") // never all for want of a name
}

// serviceOf is the service of all that a request names; "" if there are several, or none.
func serviceOf(r control.FaultRequest, w World) string {
	service := ""
	for _, id := range named(r) {
		s := id
		if i, ok := w.find(id); ok {
			s = i.Service
		}
		if service != "" && s != service {
			return ""
		}
		service = s
	}
	return service
}

func note(r control.FaultRequest) string {
	if r.Note == "" {
		return ""
	}
	return " (" + r.Note + ")"
}
