package sim

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/internal/linear"
)

var (
	// errRetry says that a member did not answer a request; a proposal may have been applied all the same.
	errRetry = errors.New("no answer")
	// errUnknown says that nobody will ever say what became of a proposal.
	errUnknown = errors.New("outcome unknown")
	// errRefused says that a proposal was refused and never applied.
	errRefused = errors.New("refused")
)

// reads says how a client's reads are answered.
const (
	linearizable = 0
	anyAge       = -1
)

// client is a user of the group: one operation after the other, each at a member it takes at random, again at another
// one when there is no answer.
type client struct {
	c    *cluster
	id   int
	ops  int
	busy bool
}

// keys holds what clients write to: some are only appended to, which shows what is lost and what is doubled; some are
// overwritten and swapped, which shows what is out of order.
func (c *client) key() (name string, appends bool) {
	k := c.c.w.rng.IntN(c.c.cfg.Keys)
	return fmt.Sprintf("k%d", k), k%3 != 2
}

// next plans the next operation.
func (c *client) next() {
	c.busy = false
	if c.c.closing {
		return
	}
	c.c.w.after(c.c.w.between(time.Millisecond, c.c.cfg.Think), c.begin)
}

func (c *client) begin() {
	if c.c.closing {
		return
	}
	c.busy = true
	c.ops++
	w := c.c.w
	key, appends := c.key()
	op := linear.Op{Client: c.id, Key: key, Call: w.now}
	once := fmt.Sprintf("c%d-%d", c.id, c.ops)
	if w.chance(0.3) {
		once = ""
	}
	var level time.Duration
	switch p := w.rng.Float64(); {
	case p < 0.35:
		op.Kind = linear.Get
	case p < 0.5:
		op.Kind = linear.Get
		level = w.between(10*time.Millisecond, 5*time.Second)
		// The member counts by its own clock. A slow one takes more real time for the same.
		op.Stale = time.Duration(float64(level)/c.c.cfg.Slowest) + time.Millisecond
	case p < 0.53:
		op.Kind, op.Stale, level = linear.Get, -1, anyAge
	case appends:
		op.Kind, op.Value = linear.Append, fmt.Sprintf("%d.%d%c", c.id, c.ops, linear.End)
	case p < 0.75:
		op.Kind, op.Value = linear.Put, fmt.Sprintf("%d.%d", c.id, c.ops)
		if w.chance(0.05) {
			op.Value += strings.Repeat("x", w.rng.IntN(20<<10)) // more than a segment of the log may have left
		}
	default:
		op.Kind, op.Value, op.Old = linear.CAS, fmt.Sprintf("%d.%d", c.id, c.ops), c.c.seen[key]
	}
	c.attempt(&request{client: c, op: op, once: once, level: level, place: c.c.history.Begin(op)})
}

// request is one operation and its attempts.
type request struct {
	client *client
	op     linear.Op
	once   string
	level  time.Duration
	place  int
	tries  int
	over   bool
}

func (c *client) attempt(r *request) {
	w := c.c.w
	r.tries++
	try := r.tries
	n := c.c.nodes[w.rng.IntN(len(c.c.nodes))]
	current := func() bool { return !r.over && r.tries == try }
	deadline := w.between(200*time.Millisecond, 4*time.Second)
	answer := func(value []byte, err error) {
		w.after(w.between(50*time.Microsecond, 2*time.Millisecond), func() {
			// An answer to an attempt that was given up is an answer all the same.
			if !r.over && (err == nil || current()) {
				c.answered(r, value, err)
			}
		})
	}
	w.after(w.between(50*time.Microsecond, 2*time.Millisecond), func() {
		if r.over {
			return
		}
		if r.op.Kind == linear.Get {
			n.read(r.op.Key, r.level, deadline, answer)
		} else {
			n.propose(linear.Command(r.op), r.once, deadline, answer)
		}
	})
	w.after(deadline+10*time.Millisecond, func() {
		if current() {
			c.answered(r, nil, errRetry)
		}
	})
}

func (c *client) answered(r *request, value []byte, err error) {
	w := c.c.w
	again := r.op.Kind == linear.Get || r.once != ""
	switch {
	case err == nil:
		c.c.history.End(r.place, w.now, func(op *linear.Op) {
			if op.Kind == linear.Get {
				op.Got = string(value)
				c.c.seen[op.Key] = op.Got
			} else {
				linear.Answer(op, value)
			}
		})
	case errors.Is(err, errRefused) && !again:
		c.c.history.Refuse(r.place, w.now)
	case errors.Is(err, errUnknown) && r.op.Kind != linear.Get, !again, c.c.over:
		w.note("c%d gave up on %s %s %.20s after %d attempts: %v", c.id, r.op.Kind, r.op.Key, r.op.Value, r.tries, err)
		c.c.unknown++
	default:
		r.tries++ // nothing of the attempt before counts from here, unless it is an answer
		w.after(w.between(time.Millisecond, 50*time.Millisecond), func() {
			if !r.over {
				c.attempt(r)
			}
		})
		return
	}
	r.over = true
	c.next()
}
