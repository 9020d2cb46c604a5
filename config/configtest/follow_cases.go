package configtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/config"
)

// followCases show what processes see.
var followCases = []testCase{
	{"Follow/ChangesArrive", changesArrive},
	{"Follow/InvalidIsRefused", invalidIsRefused},
	{"Follow/EngineDownAtBoot", engineDownAtBoot},
	{"Follow/EngineDownKeepsAll", engineDownKeepsAll},
	{"Follow/FrozenKeepsAll", frozenKeepsAll},
	{"Follow/WipedKeepsAll", wipedKeepsAll},
	{"Follow/WipedIsBelievedLater", wipedIsBelievedLater},
	{"Follow/HungWatchIsRelisted", hungWatchIsRelisted},
	{"Follow/ColdStart", coldStart},
	{"Follow/ColdStartOnWipedEngine", coldStartOnWipedEngine},
	{"Follow/OneKey", oneKey},
	{"Follow/ManyChanges", manyChanges},
}

func join(words []string) string {
	slices.Sort(words)
	return strings.Join(words, " ")
}

// changesArrive: a put, a change and a removal by somebody else.
func changesArrive(t *testing.T, e *env) {
	s, _ := e.store(t)
	other := e.Open(t)
	f := e.follow(t, s)
	f.until("nothing", is(config.Live, ""))
	revision := e.put(t, other, prefix+"orders", "10")
	set := f.until("orders", is(config.Live, "orders=10"))
	if got := set.Settings[prefix+"orders"].Revision; got != revision {
		t.Errorf("revision %d, want %d", got, revision)
	}
	e.put(t, other, prefix+"carts", "5")
	f.until("both", is(config.Live, "carts=5 orders=10"))
	e.put(t, other, prefix+"orders", "")
	f.until("an empty value", is(config.Live, "carts=5 orders="))
	e.remove(t, other, prefix+"orders")
	f.until("carts alone", is(config.Live, "carts=5"))
	e.remove(t, other, prefix+"carts") // a removal that is watched is believed, also of the last one
	f.until("nothing", is(config.Live, ""))
}

// invalidIsRefused: a document that is wrong leaves the former one in force, says why, and is gone with the next good one.
func invalidIsRefused(t *testing.T, e *env) {
	s, _ := e.store(t)
	other := e.Open(t)
	e.put(t, other, prefix+"orders", "10")
	e.put(t, other, prefix+"carts", "bad from the start")
	f := e.follow(t, s)
	f.until("one good, one bad", is(config.Live, "carts! orders=10"))
	revision := e.put(t, other, prefix+"orders", "bad")
	set := f.until("the old value", is(config.Live, "carts! orders=10!"))
	if got := set.Settings[prefix+"orders"]; !errors.Is(got.Refused, errBad) || got.RefusedRevision != revision {
		t.Errorf("refused for %v, revision %d; want the decoder's reason, %d", got.Refused, got.RefusedRevision, revision)
	}
	if log := e.log.String(); !strings.Contains(log, "refused") || !strings.Contains(log, errBad.Error()) {
		t.Error("the log does not say that it was refused, and why")
	}
	e.put(t, other, prefix+"orders", "10")
	f.until("the old value again", is(config.Live, "carts! orders=10"))
	e.put(t, other, prefix+"carts", "5")
	e.put(t, other, prefix+"orders", "20")
	f.until("two good ones", is(config.Live, "carts=5 orders=20"))
	e.put(t, other, prefix+"carts", "bad")
	e.remove(t, other, prefix+"carts")
	f.until("one", is(config.Live, "orders=20"))
}

// engineDownAtBoot: who starts without the engine gets what is there once it is up.
func engineDownAtBoot(t *testing.T, e *env) {
	e.put(t, e.Open(t), prefix+"orders", "10")
	e.Down()
	s, _ := e.store(t)
	f := e.follow(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if set, err := f.Next(ctx); err == nil {
		t.Errorf("without an engine there is %s", render(set))
	}
	if _, known := f.Current(); known {
		t.Error("without an engine something is known")
	}
	e.Up()
	f.until("orders", is(config.Live, "orders=10"))
}

// engineDownKeepsAll: an engine that goes away and comes back takes nothing along; what changed meanwhile arrives.
func engineDownKeepsAll(t *testing.T, e *env) {
	s, _ := e.store(t)
	other := e.Open(t)
	e.put(t, other, prefix+"orders", "10")
	e.put(t, other, prefix+"carts", "5")
	f := e.follow(t, s)
	f.until("both", is(config.Live, "carts=5 orders=10"))
	e.Down()
	f.until("both, stale", is(config.Stale, "carts=5 orders=10"))
	e.Up()
	f.until("both again", is(config.Live, "carts=5 orders=10"))
	e.put(t, e.Open(t), prefix+"orders", "20")
	f.until("a change", is(config.Live, "carts=5 orders=20"))
}

// frozenKeepsAll: so does one that hangs.
func frozenKeepsAll(t *testing.T, e *env) {
	frozen, ok := e.Engine.(Freezer)
	if !ok {
		t.Fatal("this engine is no Freezer, and Config.CannotFreeze is not set")
	}
	s, _ := e.store(t)
	e.put(t, e.Open(t), prefix+"orders", "10")
	f := e.follow(t, s)
	f.until("orders", is(config.Live, "orders=10"))
	frozen.Freeze()
	f.until("orders, stale", is(config.Stale, "orders=10"))
	frozen.Thaw()
	f.until("orders again", is(config.Live, "orders=10"))
	e.put(t, e.Open(t), prefix+"orders", "20")
	f.until("a change", is(config.Live, "orders=20"))
}

// wipedKeepsAll: an engine that comes back empty takes nothing along; what is put again counts, and a removal that is
// watched is believed.
func wipedKeepsAll(t *testing.T, e *env) {
	s, _ := e.store(t)
	e.put(t, e.Open(t), prefix+"orders", "10")
	e.put(t, e.Open(t), prefix+"carts", "5")
	f := e.follow(t, s)
	f.until("both", is(config.Live, "carts=5 orders=10"))
	e.Down()
	f.until("both, stale", is(config.Stale, "carts=5 orders=10"))
	e.Wipe()
	f.until("both, kept", is(config.Live, "carts=5? orders=10?"))
	if last := f.quiet(2 * e.cfg.RelistEvery); render(last) != "carts=5? orders=10?" {
		t.Errorf("after two more lists: %s", render(last))
	}
	other := e.Open(t)
	e.put(t, other, prefix+"orders", "10")
	f.until("orders confirmed", is(config.Live, "carts=5? orders=10"))
	e.put(t, other, prefix+"carts", "6")
	f.until("carts replaced", is(config.Live, "carts=6 orders=10"))
	e.remove(t, other, prefix+"orders")
	f.until("orders removed", is(config.Live, "carts=6"))
}

// wipedIsBelievedLater: what is not put again is let go of in the end.
func wipedIsBelievedLater(t *testing.T, e *env) {
	// Long enough for this to see what is kept.
	s, _ := e.store(t, func(c *config.Config) { c.KeepFor = max(e.cfg.RelistEvery, 2*time.Second) })
	e.put(t, e.Open(t), prefix+"orders", "10")
	f := e.follow(t, s)
	f.until("orders", is(config.Live, "orders=10"))
	e.Down()
	f.until("orders, stale", is(config.Stale, "orders=10"))
	e.Wipe()
	f.until("orders, kept", is(config.Live, "orders=10?"))
	f.until("nothing", is(config.Live, ""))
}

// hungWatchIsRelisted: a watch that falls silent without an error costs one period of listing, not the change; a
// removal that was missed so is believed, since the engine has answered all the time.
func hungWatchIsRelisted(t *testing.T, e *env) {
	s, d := e.store(t)
	other := e.Open(t)
	e.put(t, other, prefix+"orders", "10")
	f := e.follow(t, s)
	f.until("orders", is(config.Live, "orders=10"))
	d.hangWatches()
	e.put(t, other, prefix+"orders", "20")
	f.until("the change", is(config.Live, "orders=20"))
	d.hangWatches()
	e.remove(t, other, prefix+"orders")
	f.until("the removal", is(config.Live, ""))
}

// coldStart: a process that starts while the engine is down has what an earlier one had in force.
func coldStart(t *testing.T, e *env) {
	dir := t.TempDir()
	cached := func(c *config.Config) { c.CacheDir = dir }
	former, _ := e.store(t, cached)
	other := e.Open(t)
	e.put(t, other, prefix+"orders", "10")
	f := e.follow(t, former)
	f.until("orders", is(config.Live, "orders=10"))
	e.put(t, other, prefix+"orders", "bad") // is not what is kept
	f.until("refused", is(config.Live, "orders=10!"))
	if err := former.Close(); err != nil {
		t.Fatal(err)
	}
	e.Down()
	s, _ := e.store(t, cached)
	f = e.follow(t, s)
	f.until("orders from the disk", is(config.Disk, "orders=10"))
	e.Up()
	f.until("the engine's word", is(config.Live, "orders=10!"))
}

// coldStartOnWipedEngine: the copy on disk holds also against an engine that has nothing.
func coldStartOnWipedEngine(t *testing.T, e *env) {
	dir := t.TempDir()
	cached := func(c *config.Config) { c.CacheDir = dir }
	former, _ := e.store(t, cached)
	e.put(t, e.Open(t), prefix+"orders", "10")
	e.follow(t, former).until("orders", is(config.Live, "orders=10"))
	if err := former.Close(); err != nil {
		t.Fatal(err)
	}
	e.Wipe()
	s, _ := e.store(t, cached)
	e.follow(t, s).until("orders, kept", is(config.Live, "orders=10?"))
}

// oneKey: a Value follows its key and no longer one.
func oneKey(t *testing.T, e *env) {
	s, _ := e.store(t)
	other := e.Open(t)
	e.put(t, other, prefix+"ordersAndMore", "99")
	v := config.NewValue(s, prefix+"orders", "fallback", func(b []byte) (string, error) { return validate("", b) })
	defer v.Stop()
	if got := v.Get(); got != "fallback" {
		t.Errorf("without a setting: %q", got)
	}
	f := e.follow(t, s) // which tells when to look
	settled := func(want string) {
		t.Helper()
		ctx := e.ctx(t)
		for v.Get() != want {
			if err := v.Changed(ctx); err != nil {
				t.Fatalf("value %q, want %q: %v", v.Get(), want, err)
			}
		}
	}
	e.put(t, other, prefix+"orders", "10")
	f.until("orders", func(s config.Set[string]) bool { return s.Settings[prefix+"orders"].InForce })
	settled("10")
	e.put(t, other, prefix+"orders", "bad")
	f.until("refused", func(s config.Set[string]) bool { return s.Settings[prefix+"orders"].Refused != nil })
	settled("10")
	e.remove(t, other, prefix+"orders")
	settled("fallback")
}

// manyChanges: in the end what is in force is what the engine has, however fast it changed.
func manyChanges(t *testing.T, e *env) {
	s, _ := e.store(t)
	other := e.Open(t)
	f := e.follow(t, s)
	for i := range 200 {
		key := prefix + string(rune('a'+i%7))
		if i%11 == 10 {
			if _, err := other.Delete(e.ctx(t), key); err != nil {
				t.Fatal(err)
			}
			continue
		}
		e.put(t, other, key, string(rune('0'+i%10)))
	}
	var words []string
	for _, entry := range e.list(t, other).Entries {
		words = append(words, strings.TrimPrefix(entry.Key, prefix)+"="+string(entry.Value))
	}
	f.until("all of them", is(config.Live, join(words)))
}
