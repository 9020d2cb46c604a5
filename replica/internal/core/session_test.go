package core

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestAMachinesErrorIsItsAnswer(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	c := w.propose(w.followers()[0], "fail", "k")
	w.until("an answer", func() bool { return c.n == 1 })
	if failure.CodeOf(c.res.Err) != failure.Unknown {
		t.Fatal(c.res.Err)
	}
	again := w.propose(w.lead(), "fail", "k")
	w.until("an answer", func() bool { return again.n == 1 })
	if failure.CodeOf(again.res.Err) != failure.Unknown {
		t.Fatal(again.res.Err)
	}
}

func TestAMachineThatPanicsEndsItsMember(t *testing.T) {
	a := NewApplier(1, &counter{})
	a.sessions.open(1, 1, 1)
	err := a.applyEntry(2, entryOf(0, commandOf(1, 1, "panic")))
	if err == nil || !strings.Contains(err.Error(), "boom") {
		t.Fatal(err)
	}
}

// entryOf makes an entry of batches.
func entryOf(at int64, batches ...[]byte) []byte {
	b := entryHeader{time: at, keyAge: time.Hour, maxKeys: 3}.append(nil)
	for _, x := range batches {
		b = appendBytes(b, x)
	}
	return b
}

// commandOf makes a batch of one command.
func commandOf(session, seq uint64, text string, key ...string) []byte {
	return appendCommand(appendBatchHeader(nil, session, 1, seq), strings.Join(key, ""), []byte(text))
}

func TestACommandOfASessionIsAppliedOnceInAnyOrder(t *testing.T) {
	c := &counter{}
	a := NewApplier(1, c)
	apply := func(b []byte) {
		t.Helper()
		if err := a.applyEntry(9, entryOf(0, b)); err != nil {
			t.Fatal(err)
		}
	}
	apply(openBatch(5, 7))
	s := a.sessions.byID[9]
	apply(commandOf(9, 3, "c"))
	apply(commandOf(9, 1, "a"))
	apply(commandOf(9, 3, "c"))
	apply(commandOf(9, 2, "b"))
	apply(commandOf(9, 1, "a"))
	apply(commandOf(8, 1, "nobody's"))
	apply(commandOf(9, maxWindow+1, "too far"))
	if !slices.Equal(c.log, []string{"c", "a", "b"}) || !slices.Equal(c.indexes, []uint64{1, 2, 3}) {
		t.Fatal(c.log, c.indexes)
	}
	apply(appendCommand(appendBatchHeader(nil, 9, 4, 4), "", []byte("d"))) // acknowledges what is below 4
	apply(commandOf(9, 2, "b"))
	if len(c.log) != 4 || len(s.window)-s.head != 1 || s.bytes != len("d@4") {
		t.Fatal(c.log, s)
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	c := &counter{}
	a := NewApplier(1, c)
	a.sessions.open(1, 1, 1)
	for i, at := range []int64{5, 3, 9} {
		if err := a.applyEntry(2, entryOf(at, commandOf(1, uint64(i+1), "x"))); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []int64{5, 5, 9} {
		if got := c.times[i]; got.UnixNano() != want || got.Location() != time.UTC {
			t.Fatal(i, got)
		}
	}
}

func TestAKeyIsAppliedOnceWhicheverMemberIsAskedAndAfterARestart(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()
	w.ok(w.propose(f[0], "a", "k"), "a@1")
	w.ok(w.propose(f[1], "a", "k"), "a@1")
	for _, id := range w.ids() {
		w.crash(id)
	}
	for _, id := range w.ids() {
		w.restart(id)
	}
	w.ok(w.propose(w.nodes[3], "a", "k"), "a@1")
	w.ok(w.propose(w.nodes[1], "a", "other"), "a@2")
	w.agree("a", "a")
}

func TestKeysAreForgottenByNumberAndByAge(t *testing.T) {
	c := &counter{}
	a := NewApplier(1, c)
	a.sessions.open(1, 1, 1)
	seq := uint64(0)
	do := func(at time.Duration, key string) {
		t.Helper()
		seq++
		if err := a.applyEntry(2, entryOf(int64(at), commandOf(1, seq, key, key))); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []string{"a", "b", "c", "d"} { // three are kept
		do(0, k)
	}
	do(0, "b")
	if len(c.log) != 4 || len(a.keys.byKey) != 3 {
		t.Fatal(c.log)
	}
	do(0, "a")
	if len(c.log) != 5 {
		t.Fatal(c.log)
	}
	do(time.Hour, "d")
	do(time.Hour+1, "d")
	if len(c.log) != 6 || len(a.keys.byKey) != 1 {
		t.Fatal(c.log, a.keys.byKey)
	}
	do(time.Hour+2, strings.Repeat("x", maxKey))
	want := 2*64 + 1 + maxKey + len("d@6") + len("@7") + maxKey
	if a.keys.bytes != want {
		t.Fatal(a.keys.bytes, want)
	}
}

// expire makes all members forget all sessions, as a thousand others would.
func (w *world) expire() {
	for _, n := range w.nodes {
		clear(n.a.sessions.byID)
	}
}

func TestAnExpiredSessionTellsWhatIsNotKnownAndRepeatsWhatHasAKey(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	f := w.followers()[0]
	w.ok(w.propose(f, "a"), "a@1")
	w.expire()
	c, k := w.propose(f, "b"), w.propose(f, "c", "key")
	w.until("an answer", func() bool { return c.n == 1 })
	if !errors.Is(c.res.Err, ErrOutcomeUnknown) {
		t.Fatal(c.res.Err)
	}
	w.ok(k, "c@2")
	w.ok(w.propose(f, "d"), "d@3")
	w.agree("a", "c", "d")
	if n := len(f.m.out); n != 0 {
		t.Fatalf("%d batches are left", n)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	table := sessions{byID: map[uint64]*session{}}
	first := table.open(1, 1, 10)
	if table.open(1, 1, 11) != first {
		t.Fatal("a repeated request opened another session")
	}
	for i := range uint64(10) { // of one member
		first.used = 100 + i
		table.open(1, 2+i, 20+i)
	}
	if len(table.byID) != maxSessionsOfMember || table.byID[first.id] != first {
		t.Fatal(len(table.byID))
	}
	for i := range uint64(1100) {
		table.open(1000+i, 1, 200+i)
	}
	if len(table.byID) != maxSessions || table.byID[first.id] != nil {
		t.Fatal(len(table.byID))
	}
	if a, b := table.open(7, 1, 5000), table.open(8, 1, 5000); a.id == b.id {
		t.Fatal("two sessions of one entry share an id")
	}
}

func TestResultsThatAreNotAcknowledgedAreBounded(t *testing.T) {
	s := &session{low: 1}
	for i := range 20 {
		s.keep(s.at(uint64(1+i)), kept{applied: true, bytes: make([]byte, 1<<20)})
	}
	if s.bytes > maxSessionBytes || !s.at(1).applied || !errors.Is(s.at(1).result().Err, ErrResultDropped) || s.at(20).result().Err != nil {
		t.Fatal(s.bytes)
	}
	s.acknowledge(21)
	if s.bytes != 0 || len(s.window) != 0 {
		t.Fatal(s.bytes, len(s.window))
	}
}

// answering is a machine whose answer is always the same.
type answering struct {
	counter
	bytes []byte
	err   error
}

func (m *answering) Apply(e Entry) ([]byte, error) {
	_, _ = m.counter.Apply(e)
	return m.bytes, m.err
}

func TestAResultThatIsTooLargeIsNotKept(t *testing.T) {
	large := strings.Repeat("x", MaxResult)
	metadata := failure.New(failure.Aborted, "no").WithMetadata("x", large)
	for name, m := range map[string]*answering{
		"bytes": {bytes: make([]byte, MaxResult+1)}, "error": {err: failure.New(failure.Aborted, "%s", large)}, "metadata": {err: metadata},
		"violations": {err: failure.New(failure.Aborted, "no").WithViolation("f", "%s", large)},
	} {
		a := NewApplier(1, m)
		a.sessions.open(1, 1, 1)
		if err := a.applyEntry(2, entryOf(0, commandOf(1, 1, "a", "key"))); err != nil {
			t.Fatal(err)
		}
		s := a.sessions.byID[1]
		if err := s.at(1).result().Err; !errors.Is(err, ErrResultTooLarge) || len(m.log) != 1 || s.bytes > 1000 || a.keys.bytes > 1000 {
			t.Errorf("%s: %v, %d bytes, %d of keys, applied %d times", name, err, s.bytes, a.keys.bytes, len(m.log))
		}
	}
	m := &answering{bytes: make([]byte, MaxResult)}
	a := NewApplier(1, m)
	a.sessions.open(1, 1, 1)
	if err := a.applyEntry(2, entryOf(0, commandOf(1, 1, "a"))); err != nil {
		t.Fatal(err)
	}
	if r := a.sessions.byID[1].at(1).result(); r.Err != nil || len(r.Bytes) != MaxResult {
		t.Errorf("%d bytes, %v", len(r.Bytes), r.Err)
	}
}

func TestASnapshotKeepsAllThatMattersToRepetitions(t *testing.T) {
	a := NewApplier(1, &counter{})
	for _, b := range [][]byte{
		openBatch(5, 7),
		commandOf(2, 1, "a", "k"), commandOf(2, 3, "b"), commandOf(2, 4, "fail", "f"),
	} {
		if err := a.applyEntry(2, entryOf(77, b)); err != nil {
			t.Fatal(err)
		}
	}
	a.sessions.byID[2].at(1).err = &failure.Error{
		Code: failure.NotFound, Message: "m", Reason: "R", Domain: "d", RetryAfter: 5,
		Metadata: map[string]string{"x": "1", "a": "2"}, Violations: []failure.Violation{{Field: "f", Description: "v"}},
	}
	a.conf.Voters = []uint64{1}
	a.mark = Mark{Index: 2, Term: 1}
	c, err := a.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := c.Write(&file); err != nil {
		t.Fatal(err)
	}
	b := NewApplier(1, &counter{})
	if err := b.Restore(bytes.NewReader(file.Bytes())); err != nil {
		t.Fatal(err)
	}
	d, err := b.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := d.Write(&again); err != nil || !bytes.Equal(file.Bytes(), again.Bytes()) {
		t.Fatal("a restored state writes another snapshot", err)
	}
	if b.keys.bytes != a.keys.bytes || b.commands != a.commands || b.time != a.time {
		t.Fatal("counts differ")
	}
	if e := b.sessions.byID[2].at(1).err; fmt.Sprint(e.Metadata, e.Violations, e.Reason) != "map[a:2 x:1] [{f v}]R" {
		t.Fatal(e)
	}
	for i := range file.Len() { // whatever is cut off is noticed, but for the machine's own bytes
		if err := NewApplier(1, &counter{}).Restore(bytes.NewReader(file.Bytes()[:i])); err == nil && i < 16+len(c.header) {
			t.Fatalf("cut to %d bytes", i)
		}
	}
}
