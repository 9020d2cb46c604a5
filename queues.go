package holdfast

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/queue"
	queuedriver "github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
)

// queues is what Queue, Publish and Consume need, opened when one of them is called first.
type queues struct {
	once          sync.Once
	q             *queue.Queue          // the Service's mu
	eng           queuedriver.Engine    // nil if it is the caller's, or there is none
	subscriptions []*queue.Subscription // the Service's mu
}

// Queue returns the queue, for typed topics and dead letters: queue.NewTopic[*orderspb.Placed](svc.Queue(), "orders.placed").
// It connects to nothing and waits for nothing. Without an engine for messages, Run says so, and every call does. It is closed
// with the Service.
func (s *Service) Queue() *queue.Queue {
	s.queues.once.Do(func() {
		engine, err := s.cfg.Messages, error(nil)
		if engine == nil {
			engine, err = openQueue(&s.cfg, s.name)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			if s.state == fresh {
				s.problem(err)
			} else {
				s.cfg.Logger.Error("no queue", "error", err)
			}
			engine = noQueue{err}
		}
		if s.cfg.Messages == nil {
			s.queues.eng = engine
		}
		s.queues.q = queue.New(engine, s.cfg.Queue)
		if s.state == closed {
			_ = s.queues.q.Close() // so that publications say so
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queues.q
}

// Publish sends value to every group of a topic and returns nil when the engine of messages (Settings.Queue) has confirmed
// it: a proto.Message, []byte, or what encoding/json takes. What may pass is tried again until ctx's deadline, or for 10
// seconds without one. Package queue documents the rest. What must not get lost although this process may die before it is
// published belongs into an outbox (package queue/outbox).
func (s *Service) Publish(ctx context.Context, topic string, value any, opts ...queue.PublishOption) error {
	return s.Queue().Publish(ctx, topic, value, opts...)
}

// Consume handles the messages of a topic while the Service runs, as one of the instances of group, or of this service's
// own for "". Each message is handled by each group, at least once:
//
//	svc.Consume("orders.paid", "", queue.Handle(ship), queue.SubscriptionConfig{})
//
// It begins when the Service serves, needs no engine for that, and goes on by itself after its outages. It stops to receive when the
// Service begins to drain, and finishes what it has begun before the servers stop. It must be called before Run. What is
// wrong is a problem that Run reports. Package queue documents what becomes of errors.
func (s *Service) Consume(topic, group string, h queue.Handler, cfg queue.SubscriptionConfig) {
	if group == "" {
		group = s.name
	}
	sub, err := queue.NewSubscription(s.Queue(), topic, group, h, cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state != fresh:
		s.cfg.Logger.Error("subscribed too late, nothing is received", "topic", topic, "group", group)
	case err != nil:
		s.problem(fmt.Errorf("consume %s as %s: %w", topic, group, err))
	default:
		s.queues.subscriptions = append(s.queues.subscriptions, sub)
	}
}

// component is all subscriptions as one, nil if there are none.
func (q *queues) component() lifecycle.Component {
	if len(q.subscriptions) == 0 {
		return nil
	}
	members := make([]lifecycle.Component, len(q.subscriptions))
	for i, sub := range q.subscriptions {
		members[i] = sub
	}
	return lifecycle.Group("subscriptions", members...)
}

// close is called with the Service's mu, after everything that publishes or receives has ended.
func (q *queues) close() error {
	var errs []error
	if q.q != nil {
		errs = append(errs, q.q.Close())
	}
	if q.eng != nil {
		errs = append(errs, q.eng.Close())
	}
	return errors.Join(errs...)
}

// openQueue opens the engine that the settings name. Where there are others, messages stay in this process only if that is
// said: what is published to nobody is lost, and looks as if it were not.
func openQueue(c *Config, service string) (queuedriver.Engine, error) {
	url := c.Settings.Queue
	if err := checkQueue(url); err != nil {
		return nil, wrongSetting("HOLDFAST_QUEUE", url, err)
	}
	if url == "" && !c.alone() {
		return nil, &SettingsError{Problems: []string{"HOLDFAST_QUEUE: is not set, and messages would stay in this process, which has a registry to find " +
			"others by; memory is for those that are to"}}
	}
	if url == "" || url == inProcess {
		return memqueue.New(memqueue.Config{}), nil
	}
	scheme, _, _ := strings.Cut(url, ":")
	o, ok := opener[queuedriver.Opener](c, scheme)
	if !ok && scheme == natsqueue.Scheme {
		o, ok = natsqueue.Opener{}, true
	}
	err := errQueueNotLinked(scheme)
	if ok {
		err = o.CheckURL(url)
	}
	if err != nil {
		return nil, wrongSetting("HOLDFAST_QUEUE", url, err)
	}
	return o.OpenQueue(url, queuedriver.OpenOptions{Name: service + "/" + c.Settings.Instance, Insecure: c.Settings.Insecure, WrapDial: fault.Named(c.wrapDial, fault.ToQueue), Logger: c.Logger})
}

// errQueueNotLinked says what to do about an engine of that scheme.
func errQueueNotLinked(scheme string) error {
	pkg, linked := map[string]string{"kafka": "kafkaqueue", "amqp": "rabbitqueue", "amqps": "rabbitqueue"}[scheme]
	hint := ""
	if linked {
		hint = fmt.Sprintf("import github.com/holdfast-go/holdfast/queue/%s and give New the option holdfast.Drivers(%s.Opener{}), or ", pkg, pkg)
	}
	return fmt.Errorf("has an engine that is not linked into this program: for %q, %sgive New the option holdfast.Drivers(drivers.All()...) of "+
		"github.com/holdfast-go/holdfast/drivers; %s and %s need no import", scheme, hint, natsqueue.Scheme, inProcess)
}

// checkQueue reports what is wrong with the URL of messages. Whether another engine is linked, and what it says of the URL, is known
// when the options are.
func checkQueue(url string) error {
	if url == "" || url == inProcess {
		return nil
	}
	scheme, _, ok := strings.Cut(url, "://")
	if !ok || !isScheme(scheme) {
		return errors.New("is not a URL such as nats://127.0.0.1:4222, nor memory")
	}
	if scheme == natsqueue.Scheme {
		return natsqueue.Opener{}.CheckURL(url)
	}
	return nil
}

// noQueue is the engine of a Service that has none: every call says why.
type noQueue struct{ err error }

func (n noQueue) fail() error { return fmt.Errorf("%w: %w", queuedriver.ErrRefused, n.err) }

func (n noQueue) each(messages []*queuedriver.Message) []error {
	errs := make([]error, len(messages))
	for i := range errs {
		errs[i] = n.fail()
	}
	return errs
}

// Capabilities are all, so that what is wrong is the engine and not what it can do.
func (n noQueue) Capabilities() queuedriver.Capabilities {
	return queuedriver.Capabilities{
		Ordered: true, Delay: true, Counts: true, Retains: true, Sequenced: true, Deduplicates: 1 << 62, MaxMessage: 1 << 30,
	}
}

func (n noQueue) Declare(context.Context, queuedriver.Topic) error { return n.fail() }
func (n noQueue) Publish(_ context.Context, _ string, ms []*queuedriver.Message) []error {
	return n.each(ms)
}

func (n noQueue) PublishTo(_ context.Context, _, _ string, ms []*queuedriver.Message) []error {
	return n.each(ms)
}

func (n noQueue) Subscribe(context.Context, queuedriver.Subscription) (queuedriver.Receiver, error) {
	return nil, n.fail()
}

func (n noQueue) Bury(context.Context, string, string, *queuedriver.Message) error { return n.fail() }

func (n noQueue) Dead(context.Context, string, string, string, int) ([]queuedriver.Dead, error) {
	return nil, n.fail()
}

func (n noQueue) Exhume(context.Context, string, string, []string) (int, error) { return 0, n.fail() }

func (n noQueue) Lag(context.Context, string, string) (queuedriver.Lag, error) {
	return queuedriver.Lag{}, n.fail()
}
func (n noQueue) Groups(context.Context) ([]queuedriver.Group, error) { return nil, n.fail() }
func (n noQueue) Close() error                                        { return nil }

var _ queuedriver.Engine = noQueue{}
