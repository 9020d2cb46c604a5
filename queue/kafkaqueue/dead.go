package kafkaqueue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// maxLetters bounds what is known of the letters of a group; later ones are seen when some of these are exhumed.
	maxLetters = 200_000
	// maxGroups is of how many groups it is known.
	maxGroups = 1000
	// followWithin is for how long what is known of letters can be followed: brokers keep tombstones for a day
	// (delete.retention.ms), and whoever reads on later has missed some.
	followWithin = 12 * time.Hour
)

// letters is what we know of one topic of dead letters, read once and followed.
type letters struct {
	turn  chan struct{} // who has it reads; a mutex that honours contexts
	id    [16]byte
	next  int64 // the first offset that was not read
	alive map[string]int64
	more  bool      // some were left out
	at    time.Time // when it was last followed to the end, or begun
}

func (d *Driver) lettersOf(name string) *letters {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.dead[name]
	if l == nil {
		if len(d.dead) >= maxGroups {
			clear(d.dead)
		}
		l = &letters{turn: make(chan struct{}, 1), alive: make(map[string]int64), at: time.Now()}
		d.dead[name] = l
	}
	return l
}

func (l *letters) lock(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *letters) unlock() { <-l.turn }

func (l *letters) forget() {
	l.next, l.more, l.alive, l.at = 0, false, make(map[string]int64), time.Now()
}

// see takes note of a record.
func (l *letters) see(key string, offset int64, tombstone bool) {
	switch {
	case tombstone:
		delete(l.alive, key)
	case len(l.alive) < maxLetters:
		l.alive[key] = offset
	default:
		l.more = true
	}
}

// follow reads what is new. l is locked.
func (d *Driver) follow(ctx context.Context, name string, l *letters) error {
	begun := time.Now()
	if l.more && len(l.alive) < maxLetters/2 || begun.Sub(l.at) > followWithin {
		l.forget()
	}
	ends, err := d.ends(ctx, name)
	if err == nil {
		err = ends.Error()
	}
	if unknown(err) {
		l.forget()
		return nil // a group without that topic has no letters
	}
	if err != nil {
		return err
	}
	end, ok := ends.Lookup(name, 0)
	if !ok {
		return fmt.Errorf("topic %s: %w", name, kerr.UnknownTopicOrPartition)
	}
	ids, err := d.ids(ctx, name)
	if err != nil {
		return err
	}
	if ids[name] != l.id || end.Offset < l.next {
		l.forget()
		l.id = ids[name]
	}
	err = d.read(ctx, name, l.next, end.Offset, func(r *kgo.Record) bool {
		l.see(string(r.Key), r.Offset, r.Value == nil)
		l.next = r.Offset + 1
		return true
	})
	if err == nil {
		l.at = begun
	}
	return err
}

// read calls f with the records from one offset to before another, until it returns false.
func (d *Driver) read(ctx context.Context, name string, from, end int64, f func(*kgo.Record) bool) error {
	if from >= end {
		return nil
	}
	starts, err := d.starts(ctx, name)
	if err != nil {
		return err
	}
	if s, ok := starts.Lookup(name, 0); ok && s.Offset > from {
		if from = s.Offset; from >= end {
			return nil
		}
	}
	life, quit := context.WithCancel(ctx)
	defer quit()
	opts := append([]kgo.Opt{
		kgo.WithContext(life),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().At(from)}}), kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxWait(100 * time.Millisecond),
	}, d.common...)
	c, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer func() {
		quit() // without it, closing waits for a broker that is frozen
		c.Close()
	}()
	for next := from; next < end; {
		fetches := c.PollRecords(ctx, 1000)
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, e := range fetches.Errors() {
			if !kerr.IsRetriable(e.Err) || unknown(e.Err) {
				return e.Err
			}
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			if r.Offset >= end || !f(r) {
				return nil
			}
			next = r.Offset + 1
		}
	}
	return nil
}

// offsets returns those of what is alive after one, in order.
func (l *letters) offsets(after int64) []int64 {
	out := make([]int64, 0, len(l.alive))
	for _, o := range l.alive {
		if o > after {
			out = append(out, o)
		}
	}
	slices.Sort(out)
	return out
}

// remove forgets letters that are not there any more.
func (l *letters) remove(ctx context.Context, offsets map[int64]bool) error {
	if len(offsets) == 0 {
		return nil
	}
	if err := l.lock(ctx); err != nil {
		return err
	}
	defer l.unlock()
	maps.DeleteFunc(l.alive, func(_ string, o int64) bool { return offsets[o] })
	return nil
}

func (d *Driver) countDead(ctx context.Context, topic, group string) (int64, error) {
	name := deadTopic(topic, group)
	l := d.lettersOf(name)
	if err := l.lock(ctx); err != nil {
		return 0, err
	}
	defer l.unlock()
	err := d.follow(ctx, name, l)
	return int64(len(l.alive)), err
}

// Dead implements driver.Engine. A position is the offset.
func (d *Driver) Dead(ctx context.Context, topic, group, after string, limit int) ([]driver.Dead, error) {
	name := deadTopic(topic, group)
	fail := func(err error) ([]driver.Dead, error) {
		return nil, wrong(ctx, err, "dead letters of %s for %s", topic, group)
	}
	from := int64(-1)
	if after != "" {
		var err error
		if from, err = strconv.ParseInt(after, 10, 64); err != nil || from < 0 {
			return fail(fmt.Errorf("%q is no position", driver.Cut(after, 40)))
		}
	}
	l := d.lettersOf(name)
	if err := l.lock(ctx); err != nil {
		return fail(err)
	}
	err := d.follow(ctx, name, l)
	want := l.offsets(from)
	l.unlock()
	if err != nil {
		return fail(err)
	}
	var out []driver.Dead
	var c reader
	for len(want) > 0 && len(out) < limit {
		page := want[:min(limit-len(out), len(want))]
		want = want[len(page):]
		gone := make(map[int64]bool, len(page))
		for _, o := range page {
			gone[o] = true
		}
		err := d.read(ctx, name, page[0], page[len(page)-1]+1, func(r *kgo.Record) bool {
			if gone[r.Offset] && r.Value != nil {
				out = append(out, driver.Dead{Position: strconv.FormatInt(r.Offset, 10), Buried: r.Timestamp, Message: c.letter(r)})
				delete(gone, r.Offset)
			}
			return true
		})
		if err == nil {
			err = l.remove(ctx, gone)
		}
		if err != nil {
			return fail(err)
		}
	}
	return out, nil
}

// Exhume implements driver.Engine.
func (d *Driver) Exhume(ctx context.Context, topic, group string, positions []string) (int, error) {
	name := deadTopic(topic, group)
	fail := func(n int, err error) (int, error) {
		return n, wrong(ctx, err, "exhume letters of %s for %s", topic, group)
	}
	l := d.lettersOf(name)
	if err := l.lock(ctx); err != nil {
		return fail(0, err)
	}
	defer l.unlock()
	if err := d.follow(ctx, name, l); err != nil {
		return fail(0, err)
	}
	keys := make(map[int64]string, len(l.alive))
	for k, o := range l.alive {
		keys[o] = k
	}
	var tombs []*kgo.Record
	for _, p := range positions {
		o, err := strconv.ParseInt(p, 10, 64)
		if err != nil {
			return fail(0, fmt.Errorf("%q is no position", driver.Cut(p, 40)))
		}
		if k, ok := keys[o]; ok {
			tombs = append(tombs, &kgo.Record{Topic: name, Key: []byte(k)})
			delete(keys, o)
		}
	}
	n, err := d.entomb(ctx, tombs, l)
	return fail(n, err)
}

// entomb writes tombstones and returns of how many that is confirmed.
func (d *Driver) entomb(ctx context.Context, tombs []*kgo.Record, l *letters) (int, error) {
	type outcome struct {
		key string
		err error
	}
	outcomes := make(chan outcome, len(tombs))
	var once sync.Once
	for _, t := range tombs {
		d.producer.TryProduce(context.Background(), t, func(r *kgo.Record, err error) {
			if err != nil && unknown(err) {
				once.Do(func() { go d.lost(t.Topic) })
			}
			outcomes <- outcome{string(r.Key), err}
		})
	}
	n := 0
	var errs []error
	for range tombs {
		select {
		case o := <-outcomes:
			if o.err != nil {
				errs = append(errs, o.err)
				continue
			}
			n++
			delete(l.alive, o.key)
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
	return n, errors.Join(errs...)
}

var _ driver.Engine = (*Driver)(nil)
