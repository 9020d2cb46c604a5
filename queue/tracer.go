package queue

import (
	"context"
	"maps"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Tracer is told of publications and of attempts while they happen, with their contexts: what makes spans of them. Its
// methods are called by many goroutines and must not block.
type Tracer interface {
	// BeginPublish is told of a publication that begins. What the Propagator finds in the context that it returns goes along
	// with the messages. The PublishTracer, which may be nil, is told of the end.
	//
	// Of messages that were kept, in an outbox, ctx has what went along when they were written; each is a publication.
	BeginPublish(ctx context.Context, p Publication) (context.Context, PublishTracer)
	// BeginAttempt is told of an attempt to handle a message; ctx has what the Propagator found in it. The context that it
	// returns is the handler's. The AttemptTracer, which may be nil, is told of the end.
	BeginAttempt(ctx context.Context, a Attempt) (context.Context, AttemptTracer)
}

// Publication is messages that are about to be published.
type Publication struct {
	Topic string
	// ID is the message's, if it is known, and there is only one.
	ID string
	// Count is how many messages.
	Count int
	// Kept says that they were written before, and are published now.
	Kept bool
	// Time is when the message happened, if Kept.
	Time time.Time
}

// PublishTracer is told how a publication ended. It is called once.
type PublishTracer interface {
	// EndPublish: id is the message's if there is only one; err is nil if all were confirmed.
	EndPublish(id string, err error)
}

// Attempt is an attempt to handle a message.
type Attempt struct {
	Topic, Group string
	ID, Key      string
	// Number is 1 the first time.
	Number int
	// Size is that of its data, in bytes.
	Size int
	// Age is how long ago it was stored, or published.
	Age time.Duration
	// Replayed says that it was among the dead letters before.
	Replayed bool
}

// AttemptTracer is told how an attempt ended. It is called once.
type AttemptTracer interface {
	EndAttempt(e AttemptEnd)
}

// AttemptEnd is how an attempt ended.
type AttemptEnd struct {
	Err     error
	Verdict Verdict
	// Pause is until the next attempt, of Again.
	Pause time.Duration
	// Reason is why it becomes a dead letter.
	Reason string
}

// Verdict is what becomes of a message after an attempt.
type Verdict string

// The verdicts.
const (
	Done  Verdict = "done"
	Again Verdict = "retry"
	// Dead: it becomes a dead letter.
	Dead Verdict = "dead"
	// Back: it goes back to the engine, since the instance stops, or it is being handled elsewhere.
	Back Verdict = "returned"
)

// beginPublish tells the tracer, if there is one.
func (q *Queue) beginPublish(ctx context.Context, p Publication) (context.Context, PublishTracer) {
	if q.cfg.Tracer == nil || p.Count == 0 {
		return ctx, nil
	}
	return q.cfg.Tracer.BeginPublish(ctx, p)
}

// beginKept tells the tracer of messages that were kept, and returns them as they are to be sent, and what to tell of each
// when it is sent. Messages that belong to no trace are left as they are, and nobody is told of them.
func (q *Queue) beginKept(ctx context.Context, topic string, messages []*driver.Message) ([]*driver.Message, []PublishTracer) {
	if q.cfg.Tracer == nil {
		return messages, nil
	}
	var out []*driver.Message
	var tracers []PublishTracer
	for i, m := range messages {
		if m.Attributes[attributeTraceParent] == "" {
			continue
		}
		of := extract(ctx, q.cfg.Propagator, m)
		within, t := q.cfg.Tracer.BeginPublish(of, Publication{Topic: topic, ID: m.ID, Count: 1, Kept: true, Time: m.Time})
		if t == nil {
			continue
		}
		if out == nil {
			out, tracers = append(out, messages...), make([]PublishTracer, len(messages))
		}
		tracers[i] = t
		sent := *m
		sent.Attributes = maps.Clone(m.Attributes)
		delete(sent.Attributes, attributeTraceParent)
		delete(sent.Attributes, attributeTraceState)
		inject(within, q.cfg.Propagator, &sent)
		out[i] = &sent
	}
	if out == nil {
		return messages, nil
	}
	return out, tracers
}

// endKept tells those that beginKept has returned.
func endKept(tracers []PublishTracer, messages []*driver.Message, errs []error) {
	for i, t := range tracers {
		if t == nil {
			continue
		}
		var err error
		if errs != nil {
			err = errs[i]
		}
		t.EndPublish(messages[i].ID, err)
	}
}

// verdictOf says what becomes of a message by a decision.
func verdictOf(d decision) Verdict {
	switch {
	case d.do == settle:
		return Done
	case d.do == setAside:
		return Dead
	case d.do == retry, d.do == giveBack && d.pause > 0:
		return Again
	}
	return Back
}
