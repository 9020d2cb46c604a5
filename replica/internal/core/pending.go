package core

import (
	"errors"
	"sync"
)

// pending holds the proposals of this process: first a queue, then, once packed into a batch, a window by number. It is
// shared by the callers, the loop and the applier; each holds mu only to move pointers.
type pending struct {
	mu    sync.Mutex
	ended error

	first, last *Proposal // the queue
	count       int       // queue and window
	bytes       int

	session uint64 // 0: none is open
	nonce   uint64 // of the request for one
	base    uint64 // number of window[head]; what is below is answered or given up
	window  []*Proposal
	head    int

	maxCount, maxBytes, maxCommand int
}

// outBatch is one batch under way. The loop owns it, except left.
type outBatch struct {
	number   uint64
	data     []byte
	open     bool // asks for a session: not a batch of commands
	left     int  // proposals that wait for it; under pending.mu
	sent     bool // may be in a log; under pending.mu
	nonce    uint64
	tries    int
	inFlight bool
	again    bool  // it has been sent before
	retryAt  int64 // ns on the member's own clock; 0: at once
}

type proposalState uint8

const (
	idle proposalState = iota
	queued
	packed
)

// proposalFields are the Proposal's own, guarded by pending.mu.
type proposalFields struct {
	next, prev *Proposal
	batch      *outBatch
	seq        uint64
	state      proposalState
	earlier    bool // may have reached a leader in an earlier session; outBatch.sent says so of this one
}

func (f *proposalFields) wasSent() bool { return f.earlier || f.batch != nil && f.batch.sent }

func (p *Proposal) size() int { return len(p.Command) + len(p.Key) + 64 }

var errInUse = errors.New("the proposal is under way already")

// push takes a proposal in; wake says that nothing was waiting before.
func (t *pending) push(p *Proposal) (wake bool, err error) {
	if len(p.Command)+len(p.Key) > t.maxCommand || len(p.Key) > maxKey {
		return false, ErrTooLarge
	}
	n := p.size()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended != nil:
		return false, t.ended
	case p.own.state != idle:
		return false, errInUse
	case t.count >= t.maxCount || t.count > 0 && t.bytes+n > t.maxBytes:
		return false, ErrFull
	}
	wake = t.first == nil
	p.own = proposalFields{state: queued, prev: t.last}
	t.link(p)
	t.count++
	t.bytes += n
	return wake, nil
}

func (t *pending) link(p *Proposal) {
	if t.last == nil {
		t.first = p
	} else {
		t.last.own.next = p
	}
	t.last = p
}

func (t *pending) unlink(p *Proposal) {
	if p.own.prev == nil {
		t.first = p.own.next
	} else {
		p.own.prev.own.next = p.own.next
	}
	if p.own.next == nil {
		t.last = p.own.prev
	} else {
		p.own.next.own.prev = p.own.prev
	}
	p.own.next, p.own.prev = nil, nil
}

// cancel takes a proposal back.
func (t *pending) cancel(p *Proposal) (was, sent bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch p.own.state {
	case queued:
		sent = p.own.earlier
		t.unlink(p)
		t.release(p)
		return true, sent
	case packed:
		t.take(p)
		return true, true // if its batch has not gone yet, it goes still
	case idle:
	}
	return false, false
}

// release ends what t holds of p.
func (t *pending) release(p *Proposal) {
	t.count--
	t.bytes -= p.size()
	p.own = proposalFields{}
}

// take removes a proposal from the window.
func (t *pending) take(p *Proposal) {
	p.own.batch.left--
	t.window[t.head+int(p.own.seq-t.base)] = nil
	t.release(p)
	t.slide()
}

// slide moves base over what is answered.
func (t *pending) slide() {
	for t.head < len(t.window) && t.window[t.head] == nil {
		t.head++
		t.base++
	}
	if t.head == len(t.window) {
		t.window, t.head = t.window[:0], 0
	} else if t.head > 256 && t.head*2 > len(t.window) {
		n := copy(t.window, t.window[t.head:])
		clear(t.window[n:])
		t.window, t.head = t.window[:n], 0
	}
}

// pack moves commands from the queue into a batch, or returns nil if there is none, no session or no number left.
func (t *pending) pack(maxBytes int) *outBatch {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == nil || t.session == 0 || t.ended != nil {
		return nil
	}
	room := maxWindow/2 - (len(t.window) - t.head)
	size, n := 32, 0
	for p := t.first; p != nil && n < room; p = p.own.next {
		s := p.size()
		if n > 0 && size+s > maxBytes {
			break
		}
		size += s
		n++
	}
	if n == 0 {
		return nil
	}
	b := &outBatch{left: n, data: make([]byte, 0, size)}
	seq := t.base + uint64(len(t.window)-t.head)
	b.data = appendBatchHeader(b.data, t.session, t.base, seq)
	for range n {
		p := t.first
		t.unlink(p)
		p.own.state, p.own.batch, p.own.seq = packed, b, seq
		b.data = appendCommand(b.data, p.Key, p.Command)
		t.window = append(t.window, p)
		seq++
	}
	return b
}

// identity returns the session, 0 if none is open, and the nonce of the latest request for one.
func (t *pending) identity() (session, nonce uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.session, t.nonce
}

// opened tells that a session was opened for a nonce.
func (t *pending) opened(nonce, session uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.session == 0 && t.nonce == nonce {
		t.session, t.base = session, 1
	}
}

// expired tells that a session is unknown to the group. What has a key goes back to the head of the queue, since the key
// makes a repetition safe; for the rest nobody can tell what became of it. Returns those, for Done.
func (t *pending) expired(session, nonce uint64) []*Proposal {
	t.mu.Lock()
	defer t.mu.Unlock()
	if session == 0 || t.session != session {
		return nil
	}
	t.session, t.nonce = 0, nonce
	var again, lost []*Proposal
	for _, p := range t.window[t.head:] {
		switch {
		case p == nil:
		case p.Key != "" || !p.own.wasSent():
			p.own.batch.left--
			again = append(again, p)
		default:
			p.own.batch.left--
			t.release(p)
			lost = append(lost, p)
		}
	}
	t.window, t.head, t.base = t.window[:0], 0, 1
	for i := len(again) - 1; i >= 0; i-- {
		p := again[i]
		p.own = proposalFields{state: queued, earlier: p.own.wasSent(), next: t.first}
		if t.first != nil {
			t.first.own.prev = p
		} else {
			t.last = p
		}
		t.first = p
	}
	return lost
}

// answer is the result of one number.
type answer struct {
	seq uint64
	Result
	p *Proposal
}

// complete answers numbers of a session and calls Done for those that somebody waits for.
func (t *pending) complete(session uint64, answers []answer) {
	t.mu.Lock()
	if t.session != session {
		t.mu.Unlock()
		return
	}
	n := 0
	for _, a := range answers {
		if a.seq < t.base || a.seq-t.base >= uint64(len(t.window)-t.head) {
			continue
		}
		p := t.window[t.head+int(a.seq-t.base)]
		if p == nil {
			continue
		}
		p.own.batch.left--
		t.window[t.head+int(a.seq-t.base)] = nil
		t.release(p)
		a.p = p
		answers[n] = a
		n++
	}
	t.slide()
	t.mu.Unlock()
	for i := range answers[:n] {
		a := &answers[i]
		a.p.Done(a.Result)
	}
}

// end answers everything with err, and everything to come.
func (t *pending) end(err error) {
	t.mu.Lock()
	if t.ended == nil {
		t.ended = err
	}
	var all []*Proposal
	for _, p := range t.window[t.head:] {
		if p != nil {
			p.own.batch.left--
			all = append(all, p)
		}
	}
	t.window, t.head = nil, 0
	for t.first != nil {
		p := t.first
		t.unlink(p)
		all = append(all, p)
	}
	for _, p := range all {
		t.release(p)
	}
	t.mu.Unlock()
	for _, p := range all {
		p.Done(Result{Err: err})
	}
}

// done reports whether nobody waits for b any more.
func (t *pending) done(b *outBatch) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b.open {
		return t.ended != nil || t.session != 0 || t.nonce != b.nonce
	}
	return b.left == 0
}

// markSent notes that b may be in a log from now on.
func (t *pending) markSent(b *outBatch) {
	t.mu.Lock()
	b.sent = true
	t.mu.Unlock()
}

// load returns how much waits.
func (t *pending) load() (count, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count, t.bytes
}
