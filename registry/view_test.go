package registry

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/registry/driver"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

const (
	testWindow     = 10 * time.Second
	testSuspectFor = time.Minute
)

var errTest = errors.New("garbage")

func viewInstance(id string) Instance {
	id, draining := strings.CutSuffix(id, "~")
	return Instance{Service: "orders", ID: id, Endpoints: map[string]string{"grpc": "10.0.0.1:1"}, Draining: draining}
}

func listing(ids []string) driver.Listing {
	var l driver.Listing
	for _, id := range ids {
		if name, bad := strings.CutSuffix(id, "!"); bad {
			l.Unreadable = append(l.Unreadable, driver.Unreadable{ID: name, Err: errTest})
			continue
		}
		name, owner, _ := strings.Cut(id, "@")
		l.Records = append(l.Records, driver.Record{Instance: viewInstance(name), Owner: owner})
	}
	return l
}

func showSet(s Set) string {
	out := []string{s.Source.String() + ":"}
	for _, inst := range s.Instances {
		id := inst.ID
		if inst.Draining {
			id += "~"
		}
		if s.Suspect[inst.ID] {
			id += "?"
		}
		out = append(out, id)
	}
	for _, id := range s.Unreadable {
		out = append(out, id+"!")
	}
	return strings.Join(out, " ")
}

// TestViewTranscript replays testdata/view.txt: what the engine said, what consumers reported, and which candidates
// came of it. The file is the documentation of the rules; -update rewrites its answers.
//
//	list A B~ C!   a complete list: A, B draining, C unreadable
//	put A          a watch reports A            gone A   a watch reports the end of A
//	dead A         a consumer cannot connect    wait 5s  time passes
//	fail           the engine does not answer   disk A   what was known before the first answer
func TestViewTranscript(t *testing.T) {
	const file = "testdata/view.txt"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	var v *view
	var now time.Time
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		command, _, _ := strings.Cut(line, " → ")
		switch {
		case command == "":
			v = nil
		case !strings.HasPrefix(command, "#"):
			if v == nil {
				v, now = newView(testWindow, testSuspectFor), time.Unix(0, 0)
			}
			replay(t, v, &now, strings.Fields(command))
			line = fmt.Sprintf("%s → %s", command, showSet(v.set()))
		}
		got.WriteString(line + "\n")
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := strings.Split(string(b), "\n")
	for i, line := range strings.Split(got.String(), "\n") {
		if line != want[i] {
			t.Errorf("%s:%d:\n got %s\nwant %s", file, i+1, line, want[i])
		}
	}
}

func replay(t *testing.T, v *view, now *time.Time, words []string) {
	t.Helper()
	args := words[1:]
	switch words[0] {
	case "list":
		v.replace(listing(args), *now)
	case "put":
		l := listing(args)
		var changes []driver.Change
		for _, r := range l.Records {
			changes = append(changes, driver.Change{ID: r.ID, Record: &r})
		}
		for _, u := range l.Unreadable {
			changes = append(changes, driver.Change{ID: u.ID, Err: u.Err})
		}
		v.change(changes, *now)
	case "gone":
		var changes []driver.Change
		for _, id := range args {
			changes = append(changes, driver.Change{ID: id})
		}
		v.change(changes, *now)
	case "dead":
		for _, id := range args {
			v.drop(id, *now)
		}
	case "wait":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			t.Fatal(err)
		}
		*now = now.Add(d)
	case "fail":
		v.fail()
	case "disk":
		var seed []Instance
		for _, id := range args {
			seed = append(seed, viewInstance(id))
		}
		v.seed(seed, Disk)
	default:
		t.Fatalf("unknown command %q", words[0])
	}
}

// TestViewInvariant checks on random histories that the engine alone never takes away more than it leaves.
func TestViewInvariant(t *testing.T) {
	ids := []string{"a", "b", "c", "d", "e", "f"}
	rapid.Check(t, func(t *rapid.T) {
		v := newView(testWindow, testSuspectFor)
		now := time.Unix(0, 0)
		reported := make(map[string]time.Time) // by consumers
		var lost []lostInstance                // in the window, abruptly, and no candidates any more
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			before := v.set()
			aged := false
			drained := make(map[string]bool) // whether what was written in this step was draining
			switch rapid.SampledFrom([]string{"list", "change", "fail", "dead", "wait"}).Draw(t, "step") {
			case "list":
				n := v.replace(listing(drawRecords(t, ids)), now)
				aged = len(n.aged) > 0
			case "change":
				var changes []driver.Change
				for _, r := range listing(drawRecords(t, ids)).Records {
					drained[r.ID] = r.Draining
					changes = append(changes, driver.Change{ID: r.ID, Record: &r})
				}
				for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 0, 3, rapid.ID).Draw(t, "gone") {
					changes = append(changes, driver.Change{ID: id})
				}
				aged = len(v.change(changes, now).aged) > 0
			case "fail":
				v.fail()
				if got := v.set(); showIDs(got) != showIDs(before) {
					t.Fatalf("a failure changed the candidates: %s → %s", showSet(before), showSet(got))
				}
			case "dead":
				id := rapid.SampledFrom(ids).Draw(t, "id")
				v.drop(id, now)
				reported[id] = now
			case "wait":
				now = now.Add(time.Duration(rapid.IntRange(1, 15).Draw(t, "seconds")) * time.Second)
			}
			after := v.set()
			checkSet(t, v, after)
			if !aged {
				lost = append(lost, vanished(before, after, drained, now)...)
			}
			lost = slices.DeleteFunc(lost, func(l lostInstance) bool {
				_, dead := reported[l.id]
				return dead || drained[l.id] || contains(after, l.id) || now.Sub(l.at) > testWindow
			})
			present := 0
			for _, inst := range v.listed {
				if !inst.Draining {
					present++
				}
			}
			if len(lost) > present && showIDs(before) != showIDs(after) {
				t.Fatalf("%d lost within a window, %d left: %s → %s", len(lost), present, showSet(before), showSet(after))
			}
		}
	})
}

type lostInstance struct {
	id string
	at time.Time
}

func drawRecords(t *rapid.T, ids []string) []string {
	out := rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 0, len(ids), rapid.ID[string]).Draw(t, "records")
	for i := range out {
		out[i] += rapid.SampledFrom([]string{"", "", "", "~"}).Draw(t, "mark")
	}
	return out
}

func checkSet(t *rapid.T, v *view, s Set) {
	if !slices.IsSortedFunc(s.Instances, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) }) {
		t.Fatalf("not sorted: %s", showSet(s))
	}
	for id := range v.listed {
		if !contains(s, id) || s.Suspect[id] {
			t.Fatalf("%s is listed and no trusted candidate: %s", id, showSet(s))
		}
	}
	for id := range s.Suspect {
		if v.gone[id].inst.Draining {
			t.Fatalf("%s drained and is suspected: %s", id, showSet(s))
		}
	}
}

// vanished returns the candidates that are none any more, those that were draining aside.
func vanished(before, after Set, drained map[string]bool, now time.Time) []lostInstance {
	var out []lostInstance
	for _, inst := range before.Instances {
		if !inst.Draining && !drained[inst.ID] && !contains(after, inst.ID) {
			out = append(out, lostInstance{inst.ID, now})
		}
	}
	return out
}

func contains(s Set, id string) bool {
	return slices.ContainsFunc(s.Instances, func(inst Instance) bool { return inst.ID == id })
}

func showIDs(s Set) string {
	ids := make(map[string]bool)
	for _, inst := range s.Instances {
		ids[inst.ID] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(ids)), " ")
}

// TestViewIsBounded shows that a registry full of rubbish does not fill the memory.
func TestViewIsBounded(t *testing.T) {
	v := newView(testWindow, testSuspectFor)
	var l driver.Listing
	for i := range maxInstances + 10 {
		l.Records = append(l.Records, driver.Record{Instance: viewInstance(fmt.Sprint(i))})
		l.Unreadable = append(l.Unreadable, driver.Unreadable{ID: fmt.Sprint("u", i), Err: errTest})
	}
	now := time.Unix(0, 0)
	n := v.replace(l, now)
	if n.ignored != 20 || len(v.listed) != maxInstances || len(v.unreadable) != maxInstances {
		t.Errorf("ignored %d, listed %d, unreadable %d", n.ignored, len(v.listed), len(v.unreadable))
	}
	v.change([]driver.Change{{ID: "new", Record: &driver.Record{Instance: viewInstance("new")}}}, now)
	if len(v.listed) != maxInstances {
		t.Errorf("a watch added beyond the limit: %d", len(v.listed))
	}
	for round := range 5 { // each list is of others
		var l driver.Listing
		for i := range maxInstances {
			l.Records = append(l.Records, driver.Record{Instance: viewInstance(fmt.Sprint(round, "-", i))})
		}
		v.replace(l, now)
		if got := len(v.set().Instances); got > 2*maxInstances {
			t.Fatalf("%d candidates", got)
		}
		if len(v.gone) > maxInstances {
			t.Fatalf("%d departures remembered", len(v.gone))
		}
	}
}
