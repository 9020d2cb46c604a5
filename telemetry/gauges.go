package telemetry

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/replica"
)

// Gauges are what is asked when metrics are read. Each may be nil. They are called by any goroutine, several at a time, and must
// be quick.
type Gauges struct {
	// Admission is that of the servers of this process, by protocol.
	Admission func() []AdmissionGauge
	// Instances are those that the clients know, by service. What is told of them is how many are in which state, and who is
	// ejected.
	Instances func() map[string][]balance.Instance
	// Groups are the groups of replicated state that this process has a part in.
	Groups func() []replica.Status
	// Holds are the locks and elections that this process holds.
	Holds func() []lock.Hold
}

// AdmissionGauge is what a server has to do.
type AdmissionGauge struct {
	Protocol string // "grpc" or "http"
	admission.Stats
}

// maxEjectedTold bounds the series of holdfast.ejected.
const maxEjectedTold = 200

// Watch has g asked when metrics are read, until Shutdown. A nil Telemetry asks nobody.
func (t *Telemetry) Watch(g Gauges) error {
	if t == nil {
		return nil
	}
	w := watch{meter: t.meters.Meter(scopeName)}
	w.admission(g)
	w.instances(g)
	w.groups(g)
	w.holds(g)
	w.drops(t)
	if err := errors.Join(w.errs...); err != nil {
		return fmt.Errorf("telemetry: gauges: %w", err)
	}
	return nil
}

// watch collects errors.
type watch struct {
	meter metric.Meter
	errs  []error
}

func (w *watch) gauge(name, unit, text string) metric.Int64ObservableGauge {
	g, err := w.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(text))
	w.errs = append(w.errs, err)
	return g
}

func (w *watch) counter(name, unit, text string) metric.Int64ObservableCounter {
	c, err := w.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(text))
	w.errs = append(w.errs, err)
	return c
}

func (w *watch) on(f func(to metric.Observer), instruments ...metric.Observable) {
	_, err := w.meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		f(to)
		return nil
	}, instruments...)
	w.errs = append(w.errs, err)
}

func attributesOf(kv ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(kv...))
}

func (w *watch) admission(g Gauges) {
	if g.Admission == nil {
		return
	}
	in := w.gauge("holdfast.admission.in_flight", "{call}", "Calls that are being served.")
	limit := w.gauge("holdfast.admission.limit", "{call}", "Calls that may be in progress at a time; 0 is that none is known to be too many.")
	waiting := w.gauge("holdfast.admission.waiting", "{call}", "Calls that wait for their turn.")
	refused := w.counter("holdfast.admission.refused", "{call}", "Calls that were turned away.")
	w.on(func(to metric.Observer) {
		for _, a := range g.Admission() {
			by := attribute.String("protocol", a.Protocol)
			to.ObserveInt64(in, int64(a.InFlight), attributesOf(by))
			to.ObserveInt64(limit, int64(a.Limit), attributesOf(by))
			to.ObserveInt64(waiting, int64(a.Waiting), attributesOf(by))
			for _, r := range []struct {
				why string
				n   uint64
			}{{"shed", a.Shed}, {"late", a.Late}, {"quota", a.Quota}} {
				to.ObserveInt64(refused, int64(r.n), attributesOf(by, attribute.String("reason", r.why))) //nolint:gosec // a count
			}
		}
	}, in, limit, waiting, refused)
}

func (w *watch) instances(g Gauges) {
	if g.Instances == nil {
		return
	}
	instances := w.gauge("holdfast.instances", "{instance}", "Instances of the services that are called, by the state that this client sees them in.")
	ejected := w.gauge("holdfast.ejected", "{instance}", "1 for each instance that this client gives no calls.")
	states := []string{
		balance.StateReady, balance.StateEjected, balance.StateProbing, balance.StateSlowStart, balance.StateDraining, balance.StateUnreachable,
	}
	w.on(func(to metric.Observer) {
		told := 0
		for service, list := range g.Instances() {
			by := attribute.String("service", valid(service))
			count := make(map[string]int64, len(states))
			for _, i := range list {
				count[i.State]++
				if (i.State == balance.StateEjected || i.State == balance.StateProbing) && told < maxEjectedTold {
					told++
					to.ObserveInt64(ejected, 1, attributesOf(by, attribute.String("peer", valid(i.ID))))
				}
			}
			for _, s := range states {
				to.ObserveInt64(instances, count[s], attributesOf(by, attribute.String("state", s)))
			}
		}
	}, instances, ejected)
}

func (w *watch) groups(g Gauges) {
	if g.Groups == nil {
		return
	}
	leader := w.gauge("holdfast.replica.leader", "{leader}", "1 if this member leads.")
	known := w.gauge("holdfast.replica.led", "{member}", "1 if this member knows a leader.")
	term := w.gauge("holdfast.replica.term", "{term}", "The term that this member is in.")
	applied := w.gauge("holdfast.replica.applied", "{entry}", "The last entry that this member has applied.")
	lag := w.gauge("holdfast.replica.lag", "{entry}", "Entries that are committed, as far as this member knows, and not applied here.")
	pending := w.gauge("holdfast.replica.pending", "{command}", "Commands and reads that wait here.")
	size := w.gauge("holdfast.replica.log", "By", "Size of the log's files, of all groups together.")
	w.on(func(to metric.Observer) {
		bytes := int64(0)
		for _, s := range g.Groups() {
			by := attributesOf(attribute.String("group", valid(s.Group)))
			to.ObserveInt64(leader, truth(s.Role == replica.Leading), by)
			to.ObserveInt64(known, truth(s.Leader != ""), by)
			to.ObserveInt64(term, int64(s.Term), by)       //nolint:gosec // small
			to.ObserveInt64(applied, int64(s.Applied), by) //nolint:gosec // small
			to.ObserveInt64(lag, int64(s.Commit-min(s.Applied, s.Commit)), by)
			to.ObserveInt64(pending, int64(s.Pending+s.Reads), by)
			bytes = max(bytes, s.LogBytes)
		}
		if bytes > 0 {
			to.ObserveInt64(size, bytes)
		}
	}, leader, known, term, applied, lag, pending, size)
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (w *watch) holds(g Gauges) {
	if g.Holds == nil {
		return
	}
	held := w.gauge("holdfast.locks.held", "{lock}", "Locks and elections that this process holds.")
	w.on(func(to metric.Observer) { to.ObserveInt64(held, int64(len(g.Holds()))) }, held)
}

func (w *watch) drops(t *Telemetry) {
	dropped := w.counter("holdfast.telemetry.dropped", "1", "Spans, and readings of metrics, that could not be sent, or not in time.")
	w.on(func(to metric.Observer) {
		for i, signal := range []string{signalTraces: "traces", signalMetrics: "metrics"} {
			to.ObserveInt64(dropped, int64(t.dropped[i].Load()), attributesOf(attribute.String("signal", signal))) //nolint:gosec // a count
		}
	}, dropped)
	kept := w.counter("holdfast.telemetry.not_kept", "1", "Traces, and spans, that there were too many of to keep, by why they would have been.")
	w.on(func(to metric.Observer) {
		tell := func(reason string, n uint64) {
			if n > 0 {
				to.ObserveInt64(kept, int64(n), attributesOf(attribute.String("reason", reason))) //nolint:gosec // a count
			}
		}
		s := t.sampler
		tell("sampled", s.refused[keepSampled].Load())
		tell("sampled elsewhere", s.strange.Load())
		tell("error", s.refused[keepError].Load())
		tell("caller's error", s.refused[keepMistake].Load())
		tell("retried", s.refused[keepRetried].Load())
		tell("hedged", s.refused[keepHedged].Load())
		tell("refused", s.refused[keepRefused].Load()+s.refused[keepShed].Load())
		tell("slow", s.refused[keepSlow].Load())
		tell("held", t.observer.held.dropped.Load())
		tell("never ended", t.roots.dropped.Load())
	}, kept)
}
