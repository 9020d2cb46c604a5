package config

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestDiskCopyRoundTrip(t *testing.T) {
	dir := t.TempDir()
	want := map[string][]byte{"p/a": []byte("1"), "p/empty": {}, "p/bytes": {0, 255, '\n'}}
	c := newDiskCopy(dir, "p/", slog.New(slog.DiscardHandler))
	if got := c.load(); got != nil {
		t.Errorf("there is a copy: %v", got)
	}
	c.save(want)
	if got := newDiskCopy(dir, "p/", slog.New(slog.DiscardHandler)).load(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := newDiskCopy(dir, "p", slog.New(slog.DiscardHandler)).load(); got != nil {
		t.Errorf("the copy of another prefix: %v", got)
	}
}

func TestDiskCopyThatIsGarbageIsIgnoredAndReplaced(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "torn": `{"version":1,"prefix":"p/","settings":{"p/a":"M`, "another version": `{"version":2,"prefix":"p/"}`,
		"another prefix": `{"version":1,"prefix":"q/"}`, "a key outside": `{"version":1,"prefix":"p/","settings":{"q/a":"MQ=="}}`,
		"no key": `{"version":1,"prefix":"p/","settings":{"p/../a":"MQ=="}}`,
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			c := newDiskCopy(t.TempDir(), "p/", slog.New(slog.NewTextHandler(&log, nil)))
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
	c := newDiskCopy(dir, "p/", slog.New(slog.DiscardHandler))
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
	f.Add([]byte(`{"version":1,"prefix":"p/","saved":"2026-01-02T03:04:05Z","settings":{"p/a":"MQ=="}}`))
	f.Add([]byte(`{"version":1,"prefix":"p/","settings":{"p/..":null}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		values, err := decodeDiskCopy(b, "p/")
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
