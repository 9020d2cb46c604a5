package natsqueue

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// pullExpires is for how long the server keeps a request for messages, and pullBeat how often it says that it has it.
	// One of which nothing is heard for pullDead is lost: whoever had it is gone, or frozen.
	pullExpires = 30 * time.Second
	pullBeat    = time.Second
	pullDead    = 2500 * time.Millisecond
	// pullAgain is how long after a refusal it is asked again.
	pullAgain = 200 * time.Millisecond
)

var (
	errConsumerGone = errors.New("nats: the consumer does not exist any more")
	errSilent       = errors.New("nats: nothing is heard of the consumer")
)

// puller asks a consumer for messages. It has no goroutine of its own: whoever wants messages calls step.
type puller struct {
	conn *nats.Conn
	wake chan struct{} // of whoever waits

	mu       sync.Mutex
	subject  string // of requests
	inbox    string
	sub      *nats.Subscription
	next     uint64
	requests map[uint64]int // what is left of them
	asked    int            // their sum
	heard    time.Time
	after    time.Time // when it may be asked again
	connects uint64    // of the connection that requests were made by
	refused  int       // requests in a row that nobody took
	problem  error
	buf      []pulled
	stopped  func(*nats.Msg) // what becomes of messages that still come after stop
	once     bool            // nothing is delivered again: what was on its way when a connection broke needs another consumer
}

type pulled struct {
	msg *nats.Msg
	at  time.Time
}

func newPuller(conn *nats.Conn, wake chan struct{}) *puller {
	return &puller{conn: conn, wake: wake, requests: make(map[uint64]int)}
}

// attach begins to pull from a consumer, instead of the one before, whose messages do not count any more.
func (p *puller) attach(stream, consumer string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.sub
	p.subject = "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer
	p.inbox = "_INBOX." + rand.Text() + "."
	p.requests, p.asked, p.buf, p.problem, p.refused = make(map[uint64]int), 0, nil, nil, 0
	p.connects = p.conn.Stats().Reconnects
	inbox := p.inbox
	sub, err := p.conn.Subscribe(inbox+"*", func(m *nats.Msg) { p.handle(inbox, m) })
	if err != nil {
		return err
	}
	p.sub = sub
	if old != nil {
		_ = old.Unsubscribe()
	}
	return sub.SetPendingLimits(-1, -1)
}

func (p *puller) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *puller) handle(inbox string, m *nats.Msg) {
	p.mu.Lock()
	if inbox != p.inbox {
		p.mu.Unlock()
		return
	}
	p.heard = time.Now()
	if token, ok := strings.CutPrefix(m.Subject, inbox); ok { // messages come under their own subject
		id, _ := strconv.ParseUint(token, 36, 64)
		p.status(id, m.Header.Get("Status"), m.Header.Get("Description"))
		p.mu.Unlock()
		p.signal()
		return
	}
	p.served()
	p.refused = 0
	stopped := p.stopped
	if stopped == nil {
		p.buf = append(p.buf, pulled{m, p.heard})
	}
	p.mu.Unlock()
	if stopped != nil {
		stopped(m)
		return
	}
	p.signal()
}

// served counts a message against the oldest request, as the server does.
func (p *puller) served() {
	if p.asked == 0 {
		return // of a request that was given up
	}
	oldest := uint64(math.MaxUint64)
	for id := range p.requests { // two or three
		oldest = min(oldest, id)
	}
	p.asked--
	if p.requests[oldest]--; p.requests[oldest] == 0 {
		delete(p.requests, oldest)
	}
}

// status is what the server says about a request.
func (p *puller) status(id uint64, status, description string) {
	switch status {
	case "100": // it is there
		return
	case "404", "408": // it has expired
	case "503":
		p.refused++
		p.after = p.heard.Add(pullAgain)
		if p.refused >= 5 { // a second: no election, or a long one
			p.problem = errConsumerGone
		}
	default: // 409
		p.after = p.heard.Add(pullAgain)
		if strings.Contains(description, "Consumer Deleted") {
			p.problem = errConsumerGone
		}
	}
	p.asked -= p.requests[id]
	delete(p.requests, id)
}

type pullRequest struct {
	Batch     int           `json:"batch"`
	Expires   time.Duration `json:"expires"`
	Heartbeat time.Duration `json:"idle_heartbeat"`
}

// ask makes sure that there is a request for as many messages as there is room for. The error says that the consumer has
// to be made sure of. more is when it has to be called again.
func (p *puller) ask(room, window int) (more time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped != nil {
		return time.Hour, nil
	}
	if p.problem != nil {
		return 0, p.problem
	}
	now := time.Now()
	if n := p.conn.Stats().Reconnects; n != p.connects { // the server has forgotten what was asked for
		clear(p.requests)
		p.connects, p.asked = n, 0
		if p.once {
			return 0, errSilent
		}
	}
	if p.asked > 0 && now.Sub(p.heard) > pullDead {
		clear(p.requests)
		p.asked = 0
		return 0, errSilent
	}
	if wait := p.after.Sub(now); wait > 0 {
		return wait, nil
	}
	room -= p.asked + len(p.buf)
	if room > 0 && (p.asked == 0 || 2*room >= window) {
		p.next++
		body, _ := json.Marshal(pullRequest{room, pullExpires, pullBeat})
		if err := p.conn.PublishRequest(p.subject, p.inbox+strconv.FormatUint(p.next, 36), body); err != nil {
			p.after = now.Add(pullAgain)
			return pullAgain, nil
		}
		if p.asked == 0 {
			p.heard = now
		}
		p.requests[p.next] = room
		p.asked += room
	}
	if p.asked == 0 {
		return time.Hour, nil // no room
	}
	return pullBeat, nil
}

// forget drops what has come and was not taken.
func (p *puller) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf = nil
}

// renew says that what has come and was not taken is worked on: who takes it has no room yet.
func (p *puller) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.buf {
		if p.conn.Publish(p.buf[i].msg.Reply, ackProgress) == nil {
			p.buf[i].at = time.Now()
		}
	}
}

// take returns at most n of what has come.
func (p *puller) take(n int) []pulled {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = min(n, len(p.buf))
	if n == 0 {
		return nil
	}
	out := p.buf[:n:n]
	p.buf = p.buf[n:]
	return out
}

// stop asks for nothing more. What is under way is given to back.
func (p *puller) stop(back func(*nats.Msg)) {
	p.mu.Lock()
	if p.stopped != nil {
		p.mu.Unlock()
		return
	}
	p.stopped = back
	buf, sub := p.buf, p.sub
	p.buf = nil
	p.mu.Unlock()
	for _, m := range buf {
		back(m.msg)
	}
	if sub != nil {
		_ = sub.Drain() // what the server has sent by now still comes
	}
	p.signal()
}
