package kv

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// apply runs a command at start plus after.
func apply(m *Machine, after time.Duration, command []byte) ([]byte, error) {
	return m.Apply(replica.Entry{Time: start.Add(after), Command: command})
}

// write runs a put and returns its revision, or 0 on an error.
func put(t testing.TB, m *Machine, after time.Duration, key, value string, opts ...WriteOption) uint64 {
	t.Helper()
	b, err := apply(m, after, encodeSingle(kindPut, key, []byte(value), options(opts)))
	if err != nil {
		t.Fatal(err)
	}
	revision, err := decodeRevision(b)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func del(t testing.TB, m *Machine, key string) (uint64, bool) {
	t.Helper()
	b, err := apply(m, 0, encodeSingle(kindDelete, key, nil, options(nil)))
	if err != nil {
		t.Fatal(err)
	}
	revision, existed, err := decodeDeleted(b)
	if err != nil {
		t.Fatal(err)
	}
	return revision, existed
}

func do(t testing.TB, m *Machine, txn Txn) TxnResult {
	t.Helper()
	b, err := apply(m, 0, encodeTxn(txn))
	if err != nil {
		t.Fatal(err)
	}
	result, err := decodeTxnResult(b)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func keys(v *View, prefix string) string {
	var out []string
	for item := range v.Prefix(prefix) {
		out = append(out, item.Key+"="+string(item.Value))
	}
	return strings.Join(out, " ")
}

func TestRevisionsCountChanges(t *testing.T) {
	m := NewMachine(Config{})
	if r := put(t, m, 0, "a", "1"); r != 1 {
		t.Errorf("first write: revision %d", r)
	}
	if r := put(t, m, 0, "b", "2"); r != 2 {
		t.Errorf("second write: revision %d", r)
	}
	if r := put(t, m, 0, "a", "3"); r != 3 {
		t.Errorf("third write: revision %d", r)
	}
	if r, existed := del(t, m, "c"); r != 3 || existed {
		t.Errorf("delete of nothing: revision %d, existed %v", r, existed)
	}
	if r, existed := del(t, m, "b"); r != 4 || !existed {
		t.Errorf("delete: revision %d, existed %v", r, existed)
	}
	item, ok := m.Get("a")
	if want := (Item{Key: "a", Value: []byte("3"), Created: 1, Revision: 3, Version: 2}); !ok || fmt.Sprint(item) != fmt.Sprint(want) {
		t.Errorf("a is %+v, want %+v", item, want)
	}
	if _, ok := m.Get("b"); ok {
		t.Error("b is there after it was deleted")
	}
}

func TestAWriteOnConditionOfARevision(t *testing.T) {
	m := NewMachine(Config{})
	at := put(t, m, 0, "a", "1", IfRevision(0))
	for name, c := range map[string]struct {
		key     string
		kind    byte
		is, was uint64
	}{
		"there already":   {"a", kindPut, at, 0},
		"another":         {"a", kindPut, at, at + 1},
		"not there":       {"b", kindPut, 0, 7},
		"another, delete": {"a", kindDelete, at, at + 1},
	} {
		_, err := apply(m, 0, encodeSingle(c.kind, c.key, nil, options([]WriteOption{IfRevision(c.was)})))
		if !errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r := put(t, m, 0, "a", "2", IfRevision(at)); r != at+1 {
		t.Errorf("revision %d after %d", r, at)
	}
}

func TestATransactionIsAllOfOneBranchAtOneRevision(t *testing.T) {
	m := NewMachine(Config{})
	put(t, m, 0, "from", "10")
	put(t, m, 0, "to", "5")
	txn := Txn{
		If: []Compare{
			Value("from", Equal, []byte("10")), Revision("to", Less, 3), Created("to", Equal, 2), Version("from", NotEqual, 2),
			Exists("from"), Absent("log"),
		},
		Then: []Op{GetOp("from"), PutOp("from", []byte("7"), 0), PutOp("to", []byte("8"), 0), PutOp("log", nil, 0), GetOp("log"), DeleteOp("log"), DeleteOp("none")},
		Else: []Op{GetOp("from")},
	}
	r := do(t, m, txn)
	if !r.Succeeded || r.Revision != 3 || len(r.Before) != 7 || string(r.Before[0].Value) != "10" || r.Before[3] != nil || r.Before[4] == nil || r.Before[6] != nil {
		t.Errorf("result %+v", r)
	}
	if got := keys(m.View(), ""); got != "from=7 to=8" {
		t.Error(got)
	}
	if r = do(t, m, txn); r.Succeeded || r.Revision != 3 || len(r.Before) != 1 || string(r.Before[0].Value) != "7" {
		t.Errorf("the second time: %+v", r)
	}
	if item, _ := m.Get("from"); item.Revision != 3 {
		t.Errorf("from is at %d", item.Revision)
	}
	// A key that does not exist has revision, creation and version 0, and no value.
	r = do(t, m, Txn{If: []Compare{Revision("x", Less, 1), Created("x", Equal, 0), Version("x", Equal, 0)}})
	if !r.Succeeded {
		t.Error("the numbers of a key that does not exist are not 0")
	}
	for _, is := range []Relation{Equal, NotEqual, Less, Greater} {
		if do(t, m, Txn{If: []Compare{Value("x", is, nil)}}).Succeeded {
			t.Errorf("relation %d holds for the value of a key that does not exist", is)
		}
	}
}

func TestAKeyEndsInOnePlaceOfTheLog(t *testing.T) {
	m := NewMachine(Config{})
	put(t, m, 0, "a", "1", TTL(time.Second))
	put(t, m, 0, "b", "1", TTL(1500*time.Microsecond)) // rounded up
	put(t, m, 0, "c", "1", TTL(time.Second))
	put(t, m, 0, "c", "2") // stays
	put(t, m, 0, "d", "1", TTL(math.MaxInt64))
	put(t, m, 1999*time.Microsecond, "e", "1", IfRevision(0))
	if got := keys(m.View(), ""); got != "a=1 b=1 c=2 d=1 e=1" {
		t.Fatalf("before the first ends: %s", got)
	}
	if next := m.Stats().NextExpiry; !next.Equal(start.Add(2 * time.Millisecond)) {
		t.Errorf("the next ends at %v", next)
	}
	// A condition on a key whose time is over sees that it is.
	at := put(t, m, 2*time.Millisecond, "b", "2", IfRevision(0))
	if item, _ := m.Get("b"); item.Created != at {
		t.Errorf("b was created at %d, not %d", item.Created, at)
	}
	// Time that goes back changes nothing.
	put(t, m, 0, "f", "1", TTL(time.Second))
	if item, _ := m.Get("f"); !item.Expires.Equal(start.Add(1002 * time.Millisecond)) {
		t.Errorf("f ends at %v", item.Expires)
	}
	if _, err := apply(m, 2*time.Second, encodeExpire()); err != nil {
		t.Error(err)
	}
	if got := keys(m.View(), ""); got != "b=2 c=2 d=1 e=1" {
		t.Errorf("after: %s", got)
	}
}

func TestEndsAreSpreadOverCommands(t *testing.T) {
	m := NewMachine(Config{})
	for i := range 3*expireBatch - 1 {
		put(t, m, 0, fmt.Sprint(i), "", TTL(time.Second))
	}
	for left := 2*expireBatch - 1; left >= -1; left -= expireBatch {
		before := m.Stats().Revision
		if _, err := apply(m, time.Hour, encodeExpire()); err != nil {
			t.Fatal(err)
		}
		if s := m.Stats(); s.Keys != max(0, left) || s.Revision != before+1 {
			t.Errorf("%d keys at revision %d, want %d", s.Keys, s.Revision, max(0, left))
		}
	}
	if s := m.Stats(); s.Bytes != 0 || !s.NextExpiry.IsZero() {
		t.Errorf("empty: %+v", s)
	}
}

func TestAViewDoesNotChange(t *testing.T) {
	m := NewMachine(Config{})
	put(t, m, 0, "a/1", "1")
	put(t, m, 0, "a/2", "1")
	put(t, m, 0, "b/1", "1")
	v := m.View()
	if m.View() != v {
		t.Error("another view of the same revision")
	}
	put(t, m, 0, "a/1", "2")
	del(t, m, "a/2")
	put(t, m, 0, "a/3", "2")
	if got := keys(v, "a/"); got != "a/1=1 a/2=1" || v.Revision() != 3 || v.Len() != 3 {
		t.Errorf("the old view has %s, %d keys, at %d", got, v.Len(), v.Revision())
	}
	if item, ok := v.Get("a/1"); !ok || string(item.Value) != "1" {
		t.Errorf("the old view has %v %v", item, ok)
	}
	if _, ok := v.Get("a/3"); ok {
		t.Error("the old view has a key of later")
	}
	if got := keys(m.View(), "a/"); got != "a/1=2 a/3=2" {
		t.Errorf("the new view has %s", got)
	}
	var in []string
	for item := range m.View().Range("a/2", "b/1") {
		in = append(in, item.Key)
	}
	for item := range m.View().Range("a/3", "") {
		in = append(in, item.Key)
	}
	for range m.View().Range("", "") {
		break
	}
	if got := strings.Join(in, " "); got != "a/3 a/3 b/1" {
		t.Error(got)
	}
}

func TestASnapshotIsTheStateOfWhenItWasTaken(t *testing.T) {
	m := NewMachine(Config{})
	put(t, m, 0, "a", "1", TTL(time.Minute))
	put(t, m, 0, "b", strings.Repeat("x", 100_000))
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	put(t, m, time.Second, "c", "1")
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	s.Release()
	fresh := NewMachine(Config{})
	put(t, fresh, 0, "z", "gone with the restore", TTL(time.Second))
	if err := fresh.Restore(&b); err != nil {
		t.Fatal(err)
	}
	if got, want := fresh.Stats(), (Stats{2, 100_003, 2, start.Add(time.Minute)}); got != want {
		t.Errorf("restored %+v, want %+v", got, want)
	}
	if _, err := apply(fresh, time.Minute, encodeExpire()); err != nil {
		t.Fatal(err)
	}
	if _, ok := fresh.Get("a"); ok {
		t.Error("a key that was restored does not end")
	}
}

func TestWhatCannotBeRestoredChangesNothing(t *testing.T) {
	m := NewMachine(Config{})
	put(t, m, 0, "a", "1")
	s, _ := m.Snapshot()
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	for n := range b.Len() {
		if err := m.Restore(bytes.NewReader(b.Bytes()[:n])); err == nil {
			t.Errorf("the first %d bytes were restored", n)
		}
	}
	if err := m.Restore(bytes.NewReader(append(b.Bytes(), 0))); err == nil {
		t.Error("one byte too many was restored")
	}
	if got := keys(m.View(), ""); got != "a=1" {
		t.Error(got)
	}
}

func TestMalformedCommandsAreRefusedAlike(t *testing.T) {
	whole := encodeTxn(Txn{If: []Compare{Value("a", Equal, []byte("1"))}, Then: []Op{PutOp("a", nil, 0)}, Else: []Op{DeleteOp("a")}})
	commands := [][]byte{nil, {0, kindPut}, {commandVersion, 99}, append(slices.Clone(whole), 0), encodeSingle(kindPut, "", nil, options(nil))}
	for n := range whole {
		commands = append(commands, whole[:n])
	}
	m := NewMachine(Config{})
	for _, c := range commands {
		if _, err := apply(m, 0, c); failure.CodeOf(err) != failure.InvalidArgument {
			t.Errorf("%q: %v", c, err)
		}
	}
	if m.Stats().Revision != 0 {
		t.Error("one of them changed something")
	}
	defer func() {
		if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "upgraded") {
			t.Errorf("a command of a newer program: %v", v)
		}
	}()
	_, _ = apply(m, 0, []byte{commandVersion + 1})
}

// The machine against a map, and a second one that is restored from the first one's snapshot on the way: both must say the
// same from then on.
func TestMembersAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, other := NewMachine(Config{}), NewMachine(Config{HistoryEvents: 1})
		model := map[string]string{}
		key := rapid.StringMatching(`[ab]/[0-9]`)
		value := rapid.StringN(0, 4, 8)
		now := time.Duration(0)
		both := func(command []byte) []byte {
			a, errA := apply(m, now, command)
			b, errB := apply(other, now, command)
			if !bytes.Equal(a, b) || fmt.Sprint(errA) != fmt.Sprint(errB) {
				t.Fatalf("members differ: %q %v, %q %v", a, errA, b, errB)
			}
			return a
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), value.Draw(t, "value")
				both(encodeSingle(kindPut, k, []byte(v), options(nil)))
				model[k] = v
			},
			"put if": func(t *rapid.T) {
				k, v, was := key.Draw(t, "key"), value.Draw(t, "value"), rapid.Uint64Range(0, 3).Draw(t, "was")
				if item, ok := m.Get(k); ok && was > 0 {
					was += item.Revision - 1
				}
				if both(encodeSingle(kindPut, k, []byte(v), options([]WriteOption{IfRevision(was)}))) != nil {
					model[k] = v
				}
			},
			"put for a while": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), value.Draw(t, "value")
				both(encodeSingle(kindPut, k, []byte(v), options([]WriteOption{TTL(time.Hour)})))
				now += time.Hour
				both(encodeExpire())
				delete(model, k)
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				_, had := model[k]
				if _, existed, err := decodeDeleted(both(encodeSingle(kindDelete, k, nil, options(nil)))); err != nil || existed != had {
					t.Fatalf("delete: existed %v, %v; want %v", existed, err, had)
				}
				delete(model, k)
			},
			"move": func(t *rapid.T) {
				from, to := key.Draw(t, "from"), key.Draw(t, "to")
				v, had := model[from]
				r, err := decodeTxnResult(both(encodeTxn(Txn{
					If: []Compare{Exists(from)}, Then: []Op{DeleteOp(from), PutOp(to, []byte(v), 0)}, Else: []Op{GetOp(to)},
				})))
				if err != nil || r.Succeeded != had {
					t.Fatalf("move: %+v, %v", r, err)
				}
				if had {
					delete(model, from)
					model[to] = v
				}
			},
			"restore": func(t *rapid.T) {
				s, err := m.Snapshot()
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				if err := errors.Join(s.Write(&b), other.Restore(&b)); err != nil {
					t.Fatal(err)
				}
				s.Release()
			},
			"": func(t *rapid.T) {
				var want []string
				size := int64(0)
				for _, k := range slices.Sorted(maps.Keys(model)) {
					want = append(want, k+"="+model[k])
					size += int64(len(k) + len(model[k]))
				}
				if got := keys(m.View(), ""); got != strings.Join(want, " ") {
					t.Fatalf("there is %q, want %q", got, want)
				}
				if a, b := m.Stats(), other.Stats(); a != b || a.Bytes != size {
					t.Fatalf("%+v, %+v, %d bytes", a, b, size)
				}
			},
		})
	})
}

func BenchmarkApplyPut(b *testing.B) {
	m := NewMachine(Config{})
	commands := make([][]byte, 10_000)
	for i := range commands {
		commands[i] = encodeSingle(kindPut, fmt.Sprintf("key-%06d", i), make([]byte, 128), options(nil))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := m.Apply(replica.Entry{Time: start, Command: commands[i%len(commands)]}); err != nil {
			b.Fatal(err)
		}
	}
}
