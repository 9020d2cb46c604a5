package fileconfig_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/config/configtest"
	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/config/fileconfig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine is a directory. It is down while it has another name.
type engine struct {
	t   *testing.T
	dir string
}

func newEngine(t *testing.T) *engine {
	e := &engine{t: t, dir: filepath.Join(t.TempDir(), "settings")}
	if err := os.Mkdir(e.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *engine) Open(t testing.TB) driver.Store {
	t.Helper()
	d, err := fileconfig.Open(fileconfig.Config{Dir: e.dir, Every: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Down leaves a file in the directory's place, so that nothing can be put there either.
func (e *engine) Down() {
	e.do(os.Rename(e.dir, e.dir+".away"))
	e.do(os.WriteFile(e.dir, nil, 0o600))
}

func (e *engine) Up() {
	e.do(os.Remove(e.dir))
	e.do(os.Rename(e.dir+".away", e.dir))
}

// Wipe leaves the directories: without them it would be Down.
func (e *engine) Wipe() {
	dir, away := e.dir, e.dir+".away"
	if _, err := os.Stat(away); err == nil {
		dir = away
	}
	e.do(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			err = os.Remove(path)
		}
		return err
	}))
	if dir == away {
		e.Up()
	}
}

func (e *engine) do(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	configtest.Run(t, configtest.Config{
		New: func(t *testing.T) configtest.Engine { return newEngine(t) },
		In: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		RelistEvery:  300 * time.Millisecond,
		Within:       10 * time.Second,
		CannotFreeze: true,
	})
}

// A directory that goes away while it is listed is an outage from whichever moment on: nothing in it was removed.
func TestADirectoryThatGoesAwayWhileItIsListedLosesNothing(t *testing.T) {
	e := newEngine(t)
	const files = 40
	e.do(os.Mkdir(filepath.Join(e.dir, "limits"), 0o700))
	for i := range files {
		e.do(os.WriteFile(filepath.Join(e.dir, "limits", fmt.Sprint(i)), []byte("1"), 0o600))
	}
	d := e.Open(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 300 {
			if err := errors.Join(os.Rename(e.dir, e.dir+".away"), os.Rename(e.dir+".away", e.dir)); err != nil {
				t.Error(err)
			}
		}
	}()
	defer func() { <-done }()
	for away := false; !away; {
		select {
		case <-done:
			away = true
		default:
		}
		if l, err := d.List(t.Context(), "limits/"); err == nil && len(l.Entries) != files {
			t.Fatalf("%d of %d settings, and no error", len(l.Entries), files)
		}
	}
}

func list(t *testing.T, e *engine, prefix string) []driver.Entry {
	t.Helper()
	l, err := e.Open(t).List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	return l.Entries
}

// A ConfigMap is mounted as links to files behind a link that is swapped.
func TestFilesOfAConfigMapAreRead(t *testing.T) {
	e := newEngine(t)
	for _, version := range []string{"..1", "..2"} {
		e.do(os.Mkdir(filepath.Join(e.dir, version), 0o700))
		e.do(os.WriteFile(filepath.Join(e.dir, version, "orders"), []byte(version), 0o600))
	}
	data := filepath.Join(e.dir, "..data")
	e.do(os.Symlink("..1", data))
	e.do(os.Symlink(filepath.Join("..data", "orders"), filepath.Join(e.dir, "orders")))
	for _, version := range []string{"..1", "..2"} {
		got := list(t, e, "")
		if len(got) != 1 || got[0].Key != "orders" || string(got[0].Value) != version {
			t.Errorf("%+v, want orders = %s", got, version)
		}
		e.do(os.Symlink("..2", data+"_tmp"))
		e.do(os.Rename(data+"_tmp", data))
	}
}

func TestAFileThatCannotBeReadIsRefusedAndNotAnError(t *testing.T) {
	e := newEngine(t)
	e.do(os.WriteFile(filepath.Join(e.dir, "large"), make([]byte, driver.MaxValue+1), 0o600))
	e.do(os.WriteFile(filepath.Join(e.dir, "orders"), []byte("10"), 0o600))
	e.do(os.Symlink("nowhere", filepath.Join(e.dir, "dangling")))
	got := list(t, e, "")
	if len(got) != 2 || got[0].Key != "large" || got[0].Err == nil || got[1].Err != nil {
		t.Fatalf("%+v, want large with an error, and orders", got)
	}
	s := config.New(e.Open(t), config.Config{})
	defer s.Close()
	w := config.Follow(s, "", func(_ string, b []byte) (string, error) { return string(b), nil })
	set, err := w.Next(t.Context())
	if err != nil || !set.Settings["orders"].InForce || set.Settings["large"].Refused == nil {
		t.Errorf("%+v, %v", set, err)
	}
}

func TestKeysStayInTheDirectory(t *testing.T) {
	e := newEngine(t)
	d := e.Open(t)
	for _, key := range []string{"../x", "/x", "a/../../x", "", "."} {
		if _, err := d.Put(context.Background(), key, nil); err == nil {
			t.Errorf("put %q was accepted", key)
		}
		if _, err := d.Delete(context.Background(), key); err == nil || !strings.Contains(err.Error(), "not the key") {
			t.Errorf("delete %q: %v", key, err)
		}
	}
}

// A volume that is gone is no store without settings, also where it is mounted within the directory.
func TestADirectoryOfAPrefixThatIsGoneIsAnError(t *testing.T) {
	e := newEngine(t)
	d := e.Open(t)
	listed := func(prefix string) (int, error) {
		l, err := d.List(t.Context(), prefix)
		return len(l.Entries), err
	}
	for _, prefix := range []string{"", "policies/", "policies/or", "policies/own/"} {
		if n, err := listed(prefix); n != 0 || err != nil {
			t.Errorf("%q, which was never there: %d, %v", prefix, n, err)
		}
	}
	if _, err := d.Put(t.Context(), "policies/orders", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if n, err := listed("policies/"); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	policies := filepath.Join(e.dir, "policies")
	e.do(os.Rename(policies, e.dir+".away"))
	for _, prefix := range []string{"policies/", "policies/or"} {
		if n, err := listed(prefix); n != 0 || err == nil {
			t.Errorf("%q, which is gone: %d, %v", prefix, n, err)
		}
	}
	for _, prefix := range []string{"", "policies/own/"} {
		if _, err := listed(prefix); err != nil {
			t.Errorf("%q is not that directory: %v", prefix, err)
		}
	}
	e.do(os.Rename(e.dir+".away", policies))
	if n, err := listed("policies/"); n != 1 || err != nil {
		t.Errorf("back: %d, %v", n, err)
	}
	if found, err := d.Delete(t.Context(), "policies/orders"); !found || err != nil {
		t.Errorf("delete: %v, %v", found, err)
	}
	if n, err := listed("policies/"); n != 0 || err != nil {
		t.Errorf("empty: %d, %v", n, err)
	}
}

func TestIdentityIsTheDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	of := func(dir string) string {
		d, err := fileconfig.Open(fileconfig.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return d.Identity()
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if of("a") != of(filepath.Join(wd, "a")) || of("a") == of("b") {
		t.Errorf("%s and %s, %s", of("a"), of(filepath.Join(wd, "a")), of("b"))
	}
}
