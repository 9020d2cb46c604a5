package natsqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	defaultLanes     = 8
	defaultBytes     = 256 << 20
	defaultDedup     = 2 * time.Minute
	defaultRetention = 7 * 24 * time.Hour
	defaultReplicas  = 3
	defaultHold      = 30 * time.Second
	// maxUnsettled bounds what a group may have unsettled over all its instances.
	maxUnsettled = 20_000
	// maxDead bounds the dead letters of a group. More are refused, so that what cannot be buried is not acknowledged.
	maxDead = 100_000

	metaTopic = "holdfast-topic"
	metaLanes = "holdfast-lanes"
)

// topic is what is known of one at the server.
type topic struct {
	name    string
	lanes   int
	created time.Time // tells a stream from one of the same name that was there before
}

// Declare implements driver.Engine.
func (e *Engine) Declare(ctx context.Context, t driver.Topic) error {
	e.mu.Lock()
	told := e.told[t.Name]
	e.told[t.Name] = driver.Topic{
		Name: t.Name, Partitions: cmp.Or(t.Partitions, told.Partitions), Replicas: cmp.Or(t.Replicas, told.Replicas), Retention: cmp.Or(t.Retention, told.Retention),
	}
	e.mu.Unlock()
	_, err := admin(ctx, e, nil, func(ctx context.Context) (none struct{}, err error) {
		known, err := e.declare(ctx, t)
		if err != nil {
			return none, err
		}
		for _, g := range t.Groups {
			if err := e.declareGroup(ctx, known, g); err != nil {
				return none, fmt.Errorf("group %s: %w", g, err)
			}
		}
		return none, nil
	})
	if err != nil {
		return fmt.Errorf("declare %s: %w", t.Name, err)
	}
	return nil
}

// admin does something that asks the server about streams and consumers, again and again until it is answered: what is
// asked of a server that has just started, or of one that is frozen, may never be. It returns when ctx is over, though f may go on for
// as long as the client library keeps everybody waiting while it connects again; what comes of that is dropped.
func admin[T any](ctx context.Context, e *Engine, drop func(T), f func(context.Context) (T, error)) (T, error) {
	var none T
	for {
		if err := e.link.get(ctx); err != nil {
			return none, err
		}
		type answer struct {
			value T
			err   error
		}
		answers, gone := make(chan answer), make(chan struct{})
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		if !e.spawn(func() {
			v, err := f(try)
			select {
			case answers <- answer{v, err}:
			case <-gone:
				if err == nil && drop != nil {
					drop(v)
				}
			}
		}) {
			cancel()
			return none, errClosed
		}
		var a answer
		select {
		case a = <-answers:
		case <-ctx.Done():
			late := time.NewTimer(grace)
			select {
			case a = <-answers: // says more than that it is late
			case <-late.C:
				a.err = ctx.Err()
			}
			late.Stop()
		}
		close(gone)
		unanswered := try.Err() != nil && ctx.Err() == nil && errors.Is(a.err, context.DeadlineExceeded)
		cancel()
		if !unanswered {
			return a.value, translate(a.err)
		}
	}
}

// grace is for how long an answer is waited for when its time is over.
const grace = 20 * time.Millisecond

// spawn runs f beside, and has Close wait for it. It reports false, and does nothing, when the engine is closed.
func (e *Engine) spawn(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.beside.Go(f)
	return true
}

func (e *Engine) declare(ctx context.Context, t driver.Topic) (*topic, error) {
	lanes, replicas, retention := t.Partitions, t.Replicas, t.Retention
	if lanes == 0 {
		lanes = e.cfg.Lanes
	}
	lanes = min(lanes, maxLanes)
	if replicas == 0 {
		replicas = e.cfg.Replicas
	}
	if retention == 0 {
		retention = defaultRetention
	}
	s, err := e.makeStream(ctx, jetstream.StreamConfig{
		Name: e.names.stream(t.Name), Subjects: []string{e.names.every(t.Name), e.names.toAny(t.Name)},
		Description: "Messages of " + t.Name, Metadata: map[string]string{metaTopic: t.Name, metaLanes: strconv.Itoa(lanes)},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: replicas,
		// What is not settled is never thrown away to make room: publishers hear that there is none.
		Discard: jetstream.DiscardNew, MaxBytes: e.cfg.MaxBytes, MaxAge: retention,
		Duplicates: min(e.cfg.Dedup, retention),
	})
	if err != nil {
		return nil, err
	}
	return e.remember(t.Name, s.CachedInfo())
}

// makeStream makes a stream, or takes the one there is.
func (e *Engine) makeStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	s, err := e.link.js.Stream(ctx, c.Name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return s, err
	}
	wanted := c.Replicas
	if wanted == 0 {
		c.Replicas = defaultReplicas
	}
	s, err = e.link.js.CreateStream(ctx, c)
	var api *jetstream.APIError
	if wanted == 0 && errors.As(err, &api) && api.ErrorCode == codeReplicasNotSupported {
		c.Replicas = 1 // a server of its own
		s, err = e.link.js.CreateStream(ctx, c)
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else was faster
		s, err = e.link.js.Stream(ctx, c.Name)
	}
	return s, err
}

// remember notes what is known of a topic.
func (e *Engine) remember(name string, info *jetstream.StreamInfo) (*topic, error) {
	lanes, err := strconv.Atoi(info.Config.Metadata[metaLanes])
	if err != nil || lanes < 1 || lanes > maxLanes || info.Config.Metadata[metaTopic] != name {
		return nil, fmt.Errorf("%w: the stream %s is somebody else's", driver.ErrRefused, info.Config.Name)
	}
	t := &topic{name: name, lanes: lanes, created: info.Created}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.topics[name] = t
	return t, nil
}

// topic returns what is known of one, and asks the server if nothing is.
func (e *Engine) topic(ctx context.Context, name string) (*topic, error) {
	e.mu.Lock()
	t := e.topics[name]
	e.mu.Unlock()
	if t != nil {
		return t, nil
	}
	s, err := e.link.js.Stream(ctx, e.names.stream(name))
	if err != nil {
		return nil, translate(err)
	}
	return e.remember(name, s.CachedInfo())
}

// forget is for a topic that seems to be gone.
func (e *Engine) forget(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.topics, name)
}

// declareGroup makes sure that a group exists. One that is ordered has its lanes; others have a consumer.
func (e *Engine) declareGroup(ctx context.Context, t *topic, group string) error {
	records, err := e.readLanes(ctx, t, group)
	if err != nil || records.known() {
		return err
	}
	_, err = e.makeConsumer(ctx, t, group, 0, 0)
	return err
}

// makeConsumer makes the consumer of a group that is not ordered, or takes the one there is. A hold of 0 is of who does not
// receive: that of the one there is stays.
func (e *Engine) makeConsumer(ctx context.Context, t *topic, group string, hold time.Duration, after uint64) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	stream, name := e.names.stream(t.name), e.names.consumer(group)
	c, err := e.link.js.Consumer(ctx, stream, name)
	if err == nil {
		cfg := c.CachedInfo().Config
		if cfg.AckWait == hold || hold == 0 {
			return c, nil
		}
		cfg.AckWait = hold
		return e.link.js.UpdateConsumer(ctx, stream, cfg)
	}
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, err
	}
	if hold == 0 {
		hold = defaultHold
	}
	cfg := jetstream.ConsumerConfig{
		Durable: name, Description: "Group " + group, AckPolicy: jetstream.AckExplicitPolicy, AckWait: hold, MaxDeliver: -1,
		MaxAckPending: maxUnsettled, FilterSubjects: []string{e.names.every(t.name), e.names.toEvery(t.name, group)},
		DeliverPolicy: jetstream.DeliverAllPolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
	}
	if after > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, after+1
	}
	c, err = e.link.js.CreateConsumer(ctx, stream, cfg)
	if errors.Is(err, jetstream.ErrConsumerExists) {
		return e.link.js.Consumer(ctx, stream, name)
	}
	return c, err
}
