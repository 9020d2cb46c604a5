package idempotency

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
)

// Claim is one request that Begin let through: to be run, or answered with what is there already. Its methods must not
// be called concurrently.
type Claim struct {
	ledger *Ledger
	id     ID
	print  Fingerprint
	owner  []byte // the record while the request is under way

	result   []byte
	replayed bool

	ended chan struct{} // closed when the claim is not in ledger.here any more
	last  Record        // what it left; set before ended is closed

	held atomic.Bool // the store has our record, as far as we know

	mu      sync.Mutex // around what renewing and ending share; never held across an access to the store
	version uint64
	lost    bool
	closed  bool               // who set it has the rest for itself
	renewal *time.Timer        // for the next one
	cancel  context.CancelFunc // ends the one that is being made; nil: none was
}

// Replayed returns the answer of the first request, as it was given to Finish, if the request was answered before. It must
// not be changed.
func (c *Claim) Replayed() (result []byte, ok bool) { return c.result, c.replayed }

// acquire takes the record, or finds the answer, waiting while another process is at it.
func (c *Claim) acquire(ctx context.Context, w *wait) error {
	l := c.ledger
	r := Record{State: UnderWay, Fingerprint: c.print}
	_, _ = rand.Read(r.Owner[:]) // never fails
	c.owner = r.Append(make([]byte, 0, recordHead+len(r.Owner)))
	pause, failed := firstPause, false
	for {
		e, ok, err := l.swap(ctx, c.id, 0, c.owner, l.cfg.Lease)
		switch {
		case err != nil && ctx.Err() != nil:
			return ended(ctx)
		case err != nil && failed || failure.CodeOf(err) == failure.ResourceExhausted:
			return unreachable(err)
		case err != nil:
			failed = true // once more at once: it may have been made, and would be in our way until the lease ends
			continue
		case ok, bytes.Equal(e.Data, c.owner):
			c.mu.Lock()
			c.version = e.Version
			c.held.Store(true)
			c.renewal = time.AfterFunc(l.cfg.Lease/5, c.renew)
			c.mu.Unlock()
			return nil
		}
		r, err := ParseRecord(e.Data)
		if err != nil {
			return failure.Wrap(err, failure.DataLoss, "the record of an idempotency key cannot be read")
		}
		if !r.Fingerprint.matches(c.print) {
			return ErrReused
		}
		if r.State != UnderWay {
			c.leave(r)
			answer, err := replay(r, c.print)
			if err != nil {
				return err
			}
			c.result, c.replayed = answer.result, true
			return nil
		}
		if err := w.until(ctx, nil, jitter(pause)); err != nil {
			return err
		}
		pause, failed = min(2*pause, maxPause), false
	}
}

func unreachable(err error) error {
	if failure.CodeOf(err) == failure.ResourceExhausted {
		return err
	}
	return failure.Wrap(err, failure.Unavailable, "whether the request has run already cannot be found out")
}

// await waits for what another request of this process leaves; its State is 0 if that is nothing.
func (c *Claim) await(ctx context.Context, w *wait, print Fingerprint) (Record, error) {
	if c.held.Load() && !c.print.matches(print) {
		return Record{}, ErrReused
	}
	if err := w.until(ctx, c.ended, 0); err != nil {
		return Record{}, err
	}
	return c.last, nil
}

// leave ends the claim in this process; r is for those who wait. Only the first call counts.
func (c *Claim) leave(r Record) {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.here[c.id] != c {
		return
	}
	delete(l.here, c.id)
	c.last = r
	close(c.ended)
}

// renew is called by the timer.
func (c *Claim) renew() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.cancel = cancel
	version := c.version
	c.mu.Unlock()

	l := c.ledger
	var e Entry
	var ok bool
	err := lifecycle.Recover(func() (err error) { // nobody else would, and the process would end
		e, ok, err = l.swap(ctx, c.id, version, c.owner, l.cfg.Lease)
		if err == nil && !ok && e.Version == 0 && ctx.Err() == nil { // the lease has ended, and nobody has begun since: it is taken again
			version = 0
			e, ok, err = l.swap(ctx, c.id, 0, c.owner, l.cfg.Lease)
		}
		return err
	})
	if p := (*lifecycle.PanicError)(nil); errors.As(err, &p) {
		l.cfg.Logger.LogAttrs(ctx, slog.LevelError, "a panic in the store of idempotency keys", slog.Any("error", err))
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed { // who closed it finds out what there is
		return
	}
	c.version = version
	switch {
	case err != nil: // next time
	case ok, bytes.Equal(e.Data, c.owner): // the latter: one that had failed was made
		c.version = e.Version
	case e.Version != 0:
		c.lost = true
		return
	}
	c.renewal.Reset(l.cfg.Lease / 5)
}

// close ends renewing. It is false if there is nothing to end. A renewal that is being made is not waited for, since a store
// that hangs would hold up the answer: it counts as one that has failed, and may be made yet.
func (c *Claim) close() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.replayed {
		return false
	}
	c.closed = true
	c.renewal.Stop()
	if c.cancel != nil {
		c.cancel()
	}
	return true
}

// finishTries bounds how often the store is asked to end a claim.
const finishTries = 3

// Finish keeps result as the answer of the request, for all that come with its key, and must be called before anybody is
// given it. It does its work even if ctx is done: the request has run. An error says that repetitions may not
// get this answer, and may run; the caller answers with it all the same, since it is true. It has been logged.
// Finish takes result over. A replayed Claim has nothing to finish, one that is finished or released neither.
func (c *Claim) Finish(ctx context.Context, result []byte) error {
	if !c.replayed && len(result) > c.ledger.cfg.MaxResult {
		return c.FinishUnkept(ctx)
	}
	return c.end(ctx, Record{State: Done, Fingerprint: c.print, Result: result})
}

// FinishUnkept is Finish for an answer that cannot be kept: the request will not run again, and its repetitions get
// ErrNotKept. Finish does so by itself for an answer that is larger than Config.MaxResult.
func (c *Claim) FinishUnkept(ctx context.Context) error {
	return c.end(ctx, Record{State: NotKept, Fingerprint: c.print})
}

func (c *Claim) end(ctx context.Context, r Record) error {
	if !c.close() {
		return nil
	}
	defer c.leave(r) // also if the store panics; whoever waits in this process need not be told that others will not know
	err := c.finish(context.WithoutCancel(ctx), r)
	if err != nil {
		c.ledger.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "the answer of a request was not kept: a repetition may run it again",
			slog.Any("error", err))
	}
	return err
}

func (c *Claim) finish(ctx context.Context, r Record) error {
	if c.lost {
		return ErrLost
	}
	l := c.ledger
	data := r.Append(make([]byte, 0, recordHead+len(r.Result)))
	for try := 1; ; try++ {
		e, ok, err := l.swap(ctx, c.id, c.version, data, l.cfg.Keep)
		switch {
		case err == nil && (ok || bytes.Equal(e.Data, data)):
			return nil
		case err == nil && (e.Version == 0 || bytes.Equal(e.Data, c.owner)):
			// The lease has ended and nobody has begun since; or a renewal that had failed was made.
			c.version = e.Version
		case err == nil:
			return ErrLost
		}
		if try == finishTries {
			return unreachable(err)
		}
	}
}

// Release gives the key back: the request has not been answered, or not for good, and a repetition is to run. It is
// meant to be deferred, and does nothing after Finish. If the store cannot be told, the lease has to end first.
func (c *Claim) Release(ctx context.Context) {
	if !c.close() {
		return
	}
	defer c.leave(Record{})
	for try := 1; try <= finishTries && !c.lost && c.version != 0; try++ {
		e, ok, err := c.ledger.swap(context.WithoutCancel(ctx), c.id, c.version, nil, 0)
		if err != nil || ok || !bytes.Equal(e.Data, c.owner) {
			break
		}
		c.version = e.Version // a renewal that had failed, or was ended by ours, was made
	}
}
