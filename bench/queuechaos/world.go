package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// world is all that runs.
type world struct {
	r     *trial.Run
	dir   string
	begun time.Time

	messages   int // that are to be published, 0 for as many as there were tried
	broker     *broker.Broker
	store      *store
	publishers []*broker.Process
	consumers  []*broker.Process
	closers    []func()
}

// start starts the engine, the database, and the processes of both kinds, of which s says what they have alike.
func (w *world) start(ctx context.Context, s spec, proxies bool) error {
	b, err := broker.Start(ctx, broker.Config{Kind: w.r.Case, Dir: w.dir, Proxies: proxies})
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	w.broker, w.closers = b, append(w.closers, b.Close)
	url, stop, err := startStore(ctx, settings.inbox, w.dir)
	if err != nil {
		return err
	}
	w.closers = append(w.closers, stop)
	if w.store, err = openStore(ctx, url); err != nil {
		return err
	}
	if _, err := w.store.inbox(ctx); err != nil {
		return err
	}
	w.closers = append(w.closers, func() { _ = w.store.close() })
	w.messages = s.Messages
	s.Dir, s.Queue, s.Store, s.Workers = w.dir, b.URL, url, 40
	for _, kind := range []struct {
		role, name string
		n          int
		into       *[]*broker.Process
	}{{consumerRole, "consumer", consumers, &w.consumers}, {publisherRole, "publisher", publishers, &w.publishers}} {
		for i := range kind.n {
			s.Name, s.Index = fmt.Sprintf("%s-%d", kind.name, i+1), i
			p, err := broker.StartProcess(ctx, kind.role, s)
			if err != nil {
				return err //nolint:wrapcheck // says it all
			}
			*kind.into = append(*kind.into, p)
			w.closers = append(w.closers, p.Kill)
		}
	}
	return nil
}

func (w *world) close() {
	for _, c := range slices.Backward(w.closers) {
		c()
	}
}

// say writes what happens, and when.
func (w *world) say(format string, args ...any) {
	if w.r.Timeline != nil {
		fmt.Fprintf(w.r.Timeline, "%7.2f s  %s\n", time.Since(w.begun).Seconds(), fmt.Sprintf(format, args...))
	}
}

// publishing says whether a publisher is not done yet. The error is of one that gave up.
func (w *world) publishing() (bool, error) {
	more := false
	for i, p := range w.publishers {
		if p.Alive() {
			more = true
		} else if err := p.Err(); err != nil {
			return false, fmt.Errorf("publisher %d %w: %w: %s", i+1, errEnded, err, p.Said())
		}
	}
	return more, nil
}

// check returns an error if a consumer has ended that was not told to.
func (w *world) check() error {
	for i, p := range w.consumers {
		if !p.Alive() {
			return fmt.Errorf("consumer %d %w: %s", i+1, errEnded, p.Said())
		}
	}
	return nil
}

// settle waits until the publishers are done and every message that was confirmed has had its effect, or nothing has come
// for so long that what is missing is lost.
func (w *world) settle(ctx context.Context) error {
	last, seen := time.Now(), 0
	for {
		if err := w.check(); err != nil {
			return err
		}
		more, err := w.publishing()
		if err != nil {
			return err
		}
		n, err := w.store.count(ctx)
		if err != nil {
			return err
		}
		if n != seen {
			last, seen = time.Now(), n
		}
		if !more {
			missing, err := w.missing(ctx, n)
			if err != nil || missing == 0 {
				return err
			}
		}
		if time.Since(last) > patience {
			w.say("nothing has come for %v, after %d effects", patience, n)
			if more {
				return fmt.Errorf("publishers are not done, and nothing has come for %v", patience)
			}
			return nil
		}
		if !pause(ctx, 500*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// missing returns how many of the messages that were confirmed have had no effect, of which there are n.
func (w *world) missing(ctx context.Context, n int) (int, error) {
	all, err := readPublished(w.dir)
	if err != nil {
		return 0, err
	}
	confirmed := 0
	for _, p := range all {
		if p.Code == "" {
			confirmed++
		}
	}
	if n < confirmed {
		return confirmed - n, nil
	}
	effects, err := w.store.effects(ctx)
	if err != nil {
		return 0, err
	}
	return judge(all, effects, nil).lost, nil
}

// judge reads what has come of it.
func (w *world) judge(ctx context.Context) (verdict, error) {
	all, err := readPublished(w.dir)
	if err != nil {
		return verdict{}, err
	}
	effects, err := w.store.effects(ctx)
	if err != nil {
		return verdict{}, err
	}
	delivered, err := readDelivered(w.dir)
	if err != nil {
		return verdict{}, err
	}
	v := judge(all, effects, delivered)
	if v.messages = w.messages; v.messages == 0 {
		v.messages = tried(all)
	}
	engine, err := w.broker.Open("queuechaos")
	if err != nil {
		return v, err //nolint:wrapcheck // says it all
	}
	defer engine.Close() //nolint:errcheck // it was asked only
	lag, err := w.lag(ctx, engine)
	if err != nil {
		return v, err
	}
	v.dead, v.waiting = int(lag.Dead), int(lag.Waiting+lag.Unsettled)
	if v.lost > 0 {
		w.say("lost: %v; files in %s", v.examples, filepath.Base(w.dir))
	}
	if v.oldestID != "" {
		w.say("message %s waited for longest: %v", v.oldestID, v.oldest.Round(time.Millisecond))
	}
	for _, o := range v.late {
		w.say("out of order: %s by %s at %.2f s, after %s by %s at %.2f s", o.it.payload.id(), o.it.consumer, o.it.at.Sub(w.begun).Seconds(),
			o.by.payload.id(), o.by.consumer, o.by.at.Sub(w.begun).Seconds())
	}
	return v, nil
}

// lag asks how far behind the group is, which an engine that was just killed may not know at once.
func (w *world) lag(ctx context.Context, engine driver.Engine) (lag driver.Lag, err error) {
	for begun := time.Now(); time.Since(begun) < time.Minute; {
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		lag, err = engine.Lag(try, topicName, groupName)
		cancel()
		if err == nil || !pause(ctx, time.Second) {
			return lag, err //nolint:wrapcheck // says it all
		}
		w.say("%v", err)
	}
	return lag, err //nolint:wrapcheck // says it all
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
