package config

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/config/memconfig"
)

func TestDiskCopyRoundTrip(t *testing.T) {
	dir := t.TempDir()
	want := map[string][]byte{"p/a": []byte("1"), "p/empty": {}, "p/bytes": {0, 255, '\n'}}
	c := newDiskCopy(dir, "etcd a", "p/", slog.New(slog.DiscardHandler))
	if got := c.load(); got != nil {
		t.Errorf("there is a copy: %v", got)
	}
	c.save(want)
	if got := newDiskCopy(dir, "etcd a", "p/", slog.New(slog.DiscardHandler)).load(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := newDiskCopy(dir, "etcd a", "p", slog.New(slog.DiscardHandler)).load(); got != nil {
		t.Errorf("the copy of another prefix: %v", got)
	}
}

// A process that is told of another engine must not start with the settings of the former one.
func TestDiskCopyIsOfOneEngine(t *testing.T) {
	dir, discard := t.TempDir(), slog.New(slog.DiscardHandler)
	a := newDiskCopy(dir, "etcd a", "p/", discard)
	a.save(map[string][]byte{"p/x": []byte("1")})
	b := newDiskCopy(dir, "etcd b", "p/", discard)
	if got := b.load(); got != nil {
		t.Errorf("the copy of another engine: %v", got)
	}
	b.save(map[string][]byte{"p/x": []byte("2")})
	if got := a.load(); string(got["p/x"]) != "1" {
		t.Errorf("another engine's copy has taken its place: %v", got)
	}
	if err := os.Rename(b.path, a.path); err != nil {
		t.Fatal(err)
	}
	if got := a.load(); got != nil {
		t.Errorf("a file that says it is another engine's: %v", got)
	}
}

func TestDiskCopyThatIsGarbageIsIgnoredAndReplaced(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "torn": `{"version":2,"engine":"etcd a","prefix":"p/","settings":{"p/a":"M`, "another version": `{"version":3,"engine":"etcd a","prefix":"p/"}`,
		"another engine": `{"version":2,"engine":"etcd b","prefix":"p/"}`, "no engine": `{"version":2,"prefix":"p/"}`,
		"another prefix": `{"version":2,"engine":"etcd a","prefix":"q/"}`, "a key outside": `{"version":2,"engine":"etcd a","prefix":"p/","settings":{"q/a":"MQ=="}}`,
		"no key": `{"version":2,"engine":"etcd a","prefix":"p/","settings":{"p/../a":"MQ=="}}`,
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			c := newDiskCopy(t.TempDir(), "etcd a", "p/", slog.New(slog.NewTextHandler(&log, nil)))
			if err := os.WriteFile(c.path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := c.load(); got != nil || log.Len() == 0 {
				t.Errorf("loaded %v, logged %q", got, &log)
			}
			c.save(map[string][]byte{"p/a": []byte("1")})
			if got := c.load(); string(got["p/a"]) != "1" {
				t.Errorf("after a save: %v", got)
			}
		})
	}
}

func TestDiskCopyIsWrittenAgainAfterAFailure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "taken")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := newDiskCopy(dir, "etcd a", "p/", slog.New(slog.DiscardHandler))
	c.save(map[string][]byte{"p/a": []byte("1")})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	c.flush()
	if got := c.load(); string(got["p/a"]) != "1" {
		t.Errorf("after the flush: %v", got)
	}
}

func FuzzDecodeDiskCopy(f *testing.F) {
	f.Add([]byte(`{"version":2,"engine":"etcd a","prefix":"p/","saved":"2026-01-02T03:04:05Z","settings":{"p/a":"MQ=="}}`))
	f.Add([]byte(`{"version":2,"engine":"etcd a","prefix":"p/","settings":{"p/..":null}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		values, err := decodeDiskCopy(b, "etcd a", "p/")
		if err != nil && values != nil {
			t.Error("values beside an error")
		}
		for key := range values {
			if ValidateKey(key) != nil || key[:2] != "p/" {
				t.Errorf("key %q", key)
			}
		}
	})
}

type named struct {
	driver.Store
	name string
}

func (n named) Identity() string { return n.name }

func TestTheCopyOfAWatchIsThatOfItsEngine(t *testing.T) {
	dir := t.TempDir()
	of := func(d driver.Store) string {
		s := New(d, Config{CacheDir: dir, Logger: slog.New(slog.DiscardHandler)})
		defer s.Close()
		return Follow(s, "p/", func(string, []byte) (int, error) { return 0, nil }).copy.path
	}
	a, again, b := named{memconfig.New(), "a"}, named{memconfig.New(), "a"}, named{memconfig.New(), "b"}
	if of(a) != of(again) || of(a) == of(b) || of(memconfig.New()) == of(a) {
		t.Error("engines are not told apart by their identity, or else their type")
	}
}
