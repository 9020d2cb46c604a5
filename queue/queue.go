package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	defaultSource         = "holdfast"
	defaultPublishTimeout = 10 * time.Second
	// maxTopics bounds what is remembered of topics that no NewTopic has named, should somebody take names from outside. Beyond it they
	// are declared for each publication.
	maxTopics = 4096
)

// Config tunes a Queue. Its zero value works.
type Config struct {
	// Source is the CloudEvents source of what is published, by convention the service's name. Source and a message's ID
	// are unique together. Default: "holdfast". At most 255 bytes.
	Source string
	// Instance tells the instances of a group apart, for people and engines. Default: made up.
	Instance string
	// PublishTimeout bounds a publication whose ctx has no deadline. Default: 10 s.
	PublishTimeout time.Duration
	// Require is what the engine must be able to do: flags that are set, at least that much MaxMessage and Deduplicates. An
	// engine that is less makes NewTopic, NewSubscription and Publish fail with FAILED_PRECONDITION.
	Require driver.Capabilities
	// Propagator carries what belongs to a request (its trace) along with messages. Default: TraceContext.
	Propagator Propagator
	// Observer, if not nil, is told what happens.
	Observer Observer
	// Tracer, if not nil, is told of publications and attempts while they happen.
	Tracer Tracer
	// Logger is told of what nobody else hears of. Default: slog.Default().
	Logger *slog.Logger
}

// Validate reports every field that cannot work.
func (c Config) Validate() error {
	var errs []error
	if len(c.Source) > driver.MaxText {
		errs = append(errs, fmt.Errorf("queue config Source: more than %d bytes", driver.MaxText))
	}
	if len(c.Instance) > driver.MaxText {
		errs = append(errs, fmt.Errorf("queue config Instance: more than %d bytes", driver.MaxText))
	}
	if c.PublishTimeout < 0 {
		errs = append(errs, errors.New("queue config PublishTimeout: negative"))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Source == "" || len(c.Source) > driver.MaxText {
		c.Source = defaultSource
	}
	if c.Instance == "" || len(c.Instance) > driver.MaxText {
		c.Instance = strings.ToLower(rand.Text()[:10])
	}
	if c.PublishTimeout <= 0 {
		c.PublishTimeout = defaultPublishTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Queue is one process's client of one engine. Safe for concurrent use.
type Queue struct {
	engine  driver.Engine
	cfg     Config
	caps    driver.Capabilities
	lacking error // what Config.Require asks for and the engine does not have
	closed  atomic.Bool

	mu      sync.Mutex
	topics  map[string]*declaration
	foreign int // of them, that are not registered
}

// New returns a Queue on engine. It makes no call and cannot fail; fields of cfg that Validate rejects get their default.
// The caller keeps engine and closes it after the Queue.
func New(engine driver.Engine, cfg Config) *Queue {
	q := &Queue{engine: engine, cfg: cfg.withDefaults(), caps: engine.Capabilities(), topics: make(map[string]*declaration)}
	q.lacking = lacking(q.caps, cfg.Require)
	return q
}

// Publish sends value to every group of a topic and returns nil when the engine has confirmed it. A proto.Message is
// encoded as application/protobuf with its full name as the type, a []byte is sent as it is, anything else as JSON.
// Topic.Publish documents the rest.
func (q *Queue) Publish(ctx context.Context, topic string, value any, opts ...PublishOption) error {
	ctx, tracer := q.beginPublish(ctx, Publication{Topic: topic, Count: 1})
	m, err := NewMessage(ctx, q.cfg.Source, topic, value, q.cfg.Propagator, opts...)
	if err == nil {
		if errs := q.send(ctx, topic, "", []*driver.Message{m}); errs != nil {
			err = errs[0]
		}
	}
	if tracer != nil {
		id := ""
		if m != nil {
			id = m.ID
		}
		tracer.EndPublish(id, err)
	}
	return err
}

// PublishMessages sends messages that are encoded already, such as those of an outbox, and returns when each is
// confirmed or given up at ctx's end. nil says that all are confirmed; otherwise there is one error for each message,
// nil for those that are confirmed. Messages with the same key keep their order: after one that failed none of its key is
// tried. Their IDs, times and attributes are sent as they are, save that what they carry of a trace names the publication
// (Config.Tracer); a missing ID or Source is INVALID_ARGUMENT.
func (q *Queue) PublishMessages(ctx context.Context, topic string, messages []*driver.Message) []error {
	var errs []error
	var rejected map[string]bool // keys of messages that are invalid
	valid := messages
	for i, m := range messages {
		err := Validate(m)
		if err != nil {
			err = failure.Wrap(err, failure.InvalidArgument, "message for %s", topic)
		} else if rejected[m.Key] {
			err = errBehind(topic)
		}
		switch {
		case err == nil && errs == nil:
			continue
		case errs == nil:
			errs = make([]error, len(messages))
			rejected = make(map[string]bool)
			valid = slices.Clone(messages[:i])
		}
		if errs[i] = err; err == nil {
			valid = append(valid, m)
		} else if m != nil && m.Key != "" {
			rejected[m.Key] = true
		}
	}
	traced, tracers := q.beginKept(ctx, topic, valid)
	sent := q.send(ctx, topic, "", traced)
	endKept(tracers, traced, sent)
	if errs == nil {
		return sent
	}
	if sent != nil {
		n := 0
		for i := range errs {
			if errs[i] == nil {
				errs[i] = sent[n]
				n++
			}
		}
	}
	return errs
}

// Capabilities are those of the engine.
func (q *Queue) Capabilities() driver.Capabilities { return q.caps }

// Engine returns the engine.
func (q *Queue) Engine() driver.Engine { return q.engine }

// Lag says how far behind a group is.
func (q *Queue) Lag(ctx context.Context, topic, group string) (driver.Lag, error) {
	if err := validateNames(topic, group); err != nil {
		return driver.Lag{}, err
	}
	lag, err := q.engine.Lag(ctx, topic, group)
	return lag, engineError(err, "lag of %s/%s", topic, group)
}

// Groups lists the topics and groups that the engine knows of, in order of names.
func (q *Queue) Groups(ctx context.Context) ([]driver.Group, error) {
	groups, err := q.engine.Groups(ctx)
	return groups, engineError(err, "groups")
}

// Close makes Publish fail from then on; publications under way are not tried again. It does not close the engine. It is
// idempotent and returns nil.
func (q *Queue) Close() error {
	q.closed.Store(true)
	return nil
}

func (q *Queue) observe(e Event) {
	if q.cfg.Observer != nil {
		q.cfg.Observer.Observe(e)
	}
}
