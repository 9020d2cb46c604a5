package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

// Replica returns what a replica.Host is given as its Observer; of a nil Telemetry nil, which is no Observer.
func (t *Telemetry) Replica() replica.Observer {
	if t == nil {
		return nil
	}
	r := &replicaStats{}
	if err := r.open(t.meters.Meter(scopeName)); err != nil {
		t.cfg.Logger.Error("telemetry: no metrics of replicated state", "error", err)
		return nil
	}
	return r
}

// replicaStats measures what happens in groups of replicated state. Names of groups come from code.
type replicaStats struct {
	proposals, snapshots metric.Int64Counter
	duration, sync, read metric.Float64Histogram
	elections            metric.Int64Counter
}

func (r *replicaStats) open(meter metric.Meter) error {
	var errs []error
	histogram := func(name, text string) metric.Float64Histogram {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(text), metric.WithExplicitBucketBoundaries(buckets...))
		errs = append(errs, err)
		return h
	}
	counter := func(name, unit, text string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(text))
		errs = append(errs, err)
		return c
	}
	r.proposals = counter("holdfast.replica.proposals", "{command}", "Commands that were proposed here, by how that ended.")
	r.duration = histogram("holdfast.replica.duration", "From proposing a command to its result.")
	r.read = histogram("holdfast.replica.read", "How long reads waited until they were current enough.")
	r.sync = histogram("holdfast.replica.sync", "Writes to the log, to the end of their sync.")
	r.elections = counter("holdfast.replica.changes", "{change}", "Changes of the leader that this member has seen.")
	r.snapshots = counter("holdfast.replica.snapshots", "{snapshot}", "Snapshots that were taken, sent or received.")
	return errors.Join(errs...)
}

// Proposed implements replica.Observer.
func (r *replicaStats) Proposed(group string, took time.Duration, err error) {
	about := []attribute.KeyValue{attribute.String("group", valid(group)), attribute.String("code", failure.OK.String())}
	if err != nil {
		about[1] = attribute.String("code", errorType(err).Value.AsString())
	} else {
		r.duration.Record(context.Background(), took.Seconds(), metric.WithAttributeSet(attribute.NewSet(about[0])))
	}
	r.proposals.Add(context.Background(), 1, metric.WithAttributeSet(attribute.NewSet(about...)))
}

// Read implements replica.Observer.
func (r *replicaStats) Read(group string, _ replica.Level, took time.Duration, err error) {
	about := []attribute.KeyValue{attribute.String("group", valid(group))}
	if err != nil {
		about = append(about, errorType(err))
	}
	r.read.Record(context.Background(), took.Seconds(), metric.WithAttributeSet(attribute.NewSet(about...)))
}

// Led implements replica.Observer.
func (r *replicaStats) Led(group, _ string, _ uint64) {
	r.elections.Add(context.Background(), 1, metric.WithAttributeSet(attribute.NewSet(attribute.String("group", valid(group)))))
}

// Synced implements replica.Observer.
func (r *replicaStats) Synced(_, _ int, took time.Duration) {
	r.sync.Record(context.Background(), took.Seconds())
}

// Snapshotted implements replica.Observer.
func (r *replicaStats) Snapshotted(group, peer string, _ int64, _ time.Duration, err error) {
	what := "taken"
	if peer != "" {
		what = "passed"
	}
	r.snapshots.Add(context.Background(), 1, metric.WithAttributeSet(attribute.NewSet(
		attribute.String("group", valid(group)), attribute.String("what", what), attribute.Bool("failed", err != nil))))
}
