package shard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

var (
	abc = []string{"a", "b", "c"}
	bcd = []string{"b", "c", "d"}
	cde = []string{"c", "d", "e"}
)

// apply goes through commands for shard 0 of a table of one.
func apply(t *testing.T, start Row, commands ...command) (Row, error) {
	t.Helper()
	m := newTables()
	if _, err := m.Apply(replica.At{}, command{Op: opInit, Replicas: 3, Rows: []Row{start}}); err != nil {
		t.Fatal(err)
	}
	r := start
	for _, c := range commands {
		var err error
		if r, err = m.Apply(replica.At{}, c); err != nil {
			return m.now.Load().Rows[0], err
		}
	}
	return r, nil
}

func TestTheLifeOfAMove(t *testing.T) {
	r, err := apply(t, Row{Hosts: abc}, command{Op: opFounded}, command{Op: opMove, Hosts: cde})
	if err != nil || !slices.Equal(r.serving(), abc) || !r.wants("a") || !r.wants("e") || r.wants("x") {
		t.Fatalf("%+v, %v", r, err)
	}
	r, err = apply(t, r, command{Op: opSwitch, Hosts: cde})
	if err != nil || !slices.Equal(r.serving(), cde) || !r.wants("a") {
		t.Fatalf("%+v, %v", r, err)
	}
	r, err = apply(t, r, command{Op: opDone, Hosts: cde})
	if err != nil || !r.settled(cde) || r.wants("a") || !slices.Equal(r.Leaving, []string{"a", "b"}) {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := apply(t, r, command{Op: opMove, Hosts: bcd}); !errors.Is(err, ErrMoving) {
		t.Fatalf("to a host that has not deleted it yet: %v", err)
	}
	r, err = apply(t, r, command{Op: opLeft, Host: "b"}, command{Op: opLeft, Host: "b"}, command{Op: opMove, Hosts: bcd})
	if err != nil || !slices.Equal(r.Target, bcd) || !slices.Equal(r.Leaving, []string{"a"}) {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestWhatTheTableRefuses(t *testing.T) {
	founded := Row{Hosts: abc, Founded: true}
	moving := Row{Hosts: abc, Founded: true, Target: bcd}
	switched := Row{Hosts: abc, Founded: true, Target: bcd, Switched: true}
	for what, c := range map[string]struct {
		row     Row
		command command
		code    failure.Code
	}{
		"not founded":       {Row{Hosts: abc}, command{Op: opMove, Hosts: bcd}, failure.Aborted},
		"two of three":      {founded, command{Op: opMove, Hosts: abc[:2]}, failure.InvalidArgument},
		"out, not switched": {moving, command{Op: opOut, Hosts: bcd, Host: "a"}, failure.Aborted},
		"out for another":   {switched, command{Op: opOut, Hosts: cde, Host: "a"}, failure.Aborted},
		"out of the target": {switched, command{Op: opOut, Hosts: bcd, Host: "b"}, failure.Aborted},
		"done with another": {moving, command{Op: opDone, Hosts: cde}, failure.Aborted},
		"done with nothing": {founded, command{Op: opDone, Hosts: cde}, failure.Aborted},
		"switch to another": {moving, command{Op: opSwitch, Hosts: cde}, failure.Aborted},
		"no such shard":     {founded, command{Op: opMove, Shard: 1, Hosts: bcd}, failure.NotFound},
		"a negative shard":  {founded, command{Op: opMove, Shard: -1, Hosts: bcd}, failure.NotFound},
	} {
		r, err := apply(t, c.row, c.command)
		if failure.CodeOf(err) != c.code {
			t.Errorf("%s: %v", what, err)
		}
		if a, b := marshal(t, r), marshal(t, c.row); a != b {
			t.Errorf("%s: refused, and changed: %s", what, a)
		}
	}
}

func TestATargetThatIsGivenUpLeaves(t *testing.T) {
	r, err := apply(t, Row{Hosts: abc, Founded: true}, command{Op: opMove, Hosts: cde}, command{Op: opMove, Hosts: abc})
	if err != nil || !slices.Equal(r.Target, abc) || !slices.Equal(r.Leaving, []string{"d", "e"}) {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = apply(t, r, command{Op: opDone, Hosts: abc}); err != nil || !r.settled(abc) {
		t.Fatalf("%+v, %v", r, err)
	}
}

// Once those of the target are asked, the others go one by one, and the shard can still be moved elsewhere: to whoever is
// known to be a member, or to have nothing of it.
func TestAMoveIsTakenElsewhereThoughItHasSwitched(t *testing.T) {
	r, err := apply(t, Row{Hosts: abc, Founded: true}, command{Op: opMove, Hosts: cde}, command{Op: opSwitch, Hosts: cde}, command{Op: opOut, Hosts: cde, Host: "a"})
	if err != nil || !slices.Equal(r.Hosts, []string{"b", "c"}) || !slices.Equal(r.Leaving, []string{"a"}) || !slices.Equal(r.serving(), cde) || r.wants("a") {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err := apply(t, r, command{Op: opOut, Hosts: cde, Host: "a"}); err != nil || !slices.Equal(r.Leaving, []string{"a"}) {
		t.Errorf("out again: %+v, %v", r, err)
	}
	acd, cdf := []string{"a", "c", "d"}, []string{"c", "d", "f"}
	if _, err := apply(t, r, command{Op: opMove, Hosts: acd}); !errors.Is(err, ErrMoving) {
		t.Errorf("to one that is out: %v", err)
	}
	for what, to := range map[string][]string{"back": bcd, "to a new one": cdf, "to one that has left": acd} {
		leaving := []string{"a"}
		if !slices.Contains(to, "b") {
			leaving = []string{"a", "b"}
		}
		commands := []command{{Op: opMove, Hosts: to}}
		if slices.Contains(to, "a") {
			leaving, commands = []string{"b"}, append([]command{{Op: opLeft, Host: "a"}}, commands...)
		}
		r, err := apply(t, r, commands...)
		if err != nil || !slices.Equal(r.Target, to) || r.Switched || !slices.Equal(r.serving(), cde) || !slices.Equal(r.Leaving, leaving) {
			t.Errorf("%s: %+v, %v", what, r, err)
			continue
		}
		for _, late := range []command{{Op: opOut, Hosts: cde, Host: "b"}, {Op: opDone, Hosts: cde}, {Op: opSwitch, Hosts: cde}} {
			if _, err := apply(t, r, late); !errors.Is(err, ErrMoving) {
				t.Errorf("%s, then a late %s: %v", what, late.Op, err)
			}
		}
		if r, err = apply(t, r, command{Op: opSwitch, Hosts: to}, command{Op: opDone, Hosts: to}); err != nil || !r.settled(to) || !slices.Contains(r.Leaving, "e") || slices.Contains(r.Leaving, "d") {
			t.Errorf("%s, done: %+v, %v", what, r, err)
		}
	}
}

func TestATableIsMadeOnce(t *testing.T) {
	r, err := apply(t, Row{Hosts: abc}, command{Op: opInit, Replicas: 3, Rows: []Row{{Hosts: cde}}}, command{Op: opFounded})
	if err != nil || !slices.Equal(r.Hosts, abc) {
		t.Fatalf("%+v, %v", r, err)
	}
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A member that does not know what the others make of a command stops, and does not go on with another table.
func TestACommandOfANewerProgramPanics(t *testing.T) {
	for what, b := range map[string]string{
		"format":            `{"format":2,"op":"move","shard":0,"hosts":["a"]}`,
		"format, and types": `{"format":2,"op":7}`,
		"operation":         `{"format":1,"op":"split","shard":0}`,
		"of which shard":    `{"op":"split","shard":99}`,
	} {
		func() {
			defer func() {
				if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "upgraded") {
					t.Errorf("%s: %v", what, v)
				}
			}()
			c, err := commands{}.Decode([]byte(b))
			if err == nil {
				_, err = apply(t, Row{Hosts: abc, Founded: true}, c)
			}
			t.Errorf("%s: %v", what, err)
		}()
	}
	b, err := commands{}.Encode(command{Op: opLeft, Host: "a"})
	if err != nil || !strings.Contains(string(b), `"format":1`) {
		t.Errorf("%s, %v", b, err)
	}
	if c, err := (commands{}).Decode(b); err != nil || c.Op != opLeft || c.Host != "a" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := (commands{}).Decode([]byte(`{"op":`)); err == nil {
		t.Error("half a command was decoded")
	}
}

func TestATableOfALaterFormatIsRefused(t *testing.T) {
	if err := newTables().Restore(strings.NewReader(`{"format":2}`)); failure.CodeOf(err) != failure.Unimplemented {
		t.Fatal(err)
	}
}

// FuzzTable restores any snapshot, and what is restored comes back the same.
func FuzzTable(f *testing.F) {
	f.Add([]byte(marshal(f, table{Format: 1, Replicas: 3, Rows: []Row{{Hosts: abc, Target: bcd, Switched: true, Leaving: []string{"x"}}}})))
	f.Add([]byte(`{"format":1,"rows":[{}]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newTables()
		if m.Restore(bytes.NewReader(b)) != nil {
			return
		}
		s, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := s.Write(&out); err != nil {
			t.Fatal(err)
		}
		again := newTables()
		if err := again.Restore(&out); err != nil {
			t.Fatal(err)
		}
		if a, b := marshal(t, m.now.Load()), marshal(t, again.now.Load()); a != b {
			t.Fatalf("%s, then %s", a, b)
		}
		for _, o := range []op{opMove, opSwitch, opOut, opDone, opLeft, opFounded} {
			_, _ = m.Apply(replica.At{}, command{Op: o, Hosts: abc, Host: "a"}) // must not panic
		}
	})
}
