package registry_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// TestColdStartPrefersTheEngine: the disk copy waits half a second for the engine, and no longer.
func TestColdStartPrefersTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := memregistry.New()
		if _, err := d.Register(t.Context(), driver.Record{Instance: orders("1")}, time.Hour, true); err != nil {
			t.Fatal(err)
		}
		cold := func() (registry.Set, time.Duration) {
			r := registry.New(d, registry.Config{CacheDir: dir})
			defer r.Close()
			start := time.Now()
			s, err := r.Watch("orders").Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s, time.Since(start)
		}
		if s, took := cold(); s.Source != registry.Live || took > 0 {
			t.Errorf("first start: %v after %v", s.Source, took)
		}
		if s, took := cold(); s.Source != registry.Live || took > 0 {
			t.Errorf("second start, with a copy on disk: %v after %v", s.Source, took)
		}
		d.Freeze()
		if s, took := cold(); s.Source != registry.Disk || len(s.Instances) != 1 || took != 500*time.Millisecond {
			t.Errorf("start with a frozen engine: %v %v after %v", s.Source, s.Instances, took)
		}
		d.Thaw()
		d.Down()
		if s, took := cold(); s.Source != registry.Disk || len(s.Instances) != 1 || took > 0 {
			t.Errorf("start with a dead engine: %v %v after %v", s.Source, s.Instances, took)
		}
	})
}

// TestColdStartBesideAWipedEngine: one that answers, and has just lost all it knew, does not take the good copy with it. It is
// believed what it says of those that it knows, and everything where the copy is old.
func TestColdStartBesideAWipedEngine(t *testing.T) {
	for name, tc := range map[string]struct {
		age  time.Duration
		has  []string // of the engine
		want int
	}{
		"wiped":                         {time.Minute, nil, 3},
		"wiped, and one is back":        {time.Minute, []string{"1"}, 3},
		"one has gone meanwhile":        {time.Minute, []string{"1", "2"}, 2},
		"others are there":              {time.Minute, []string{"4", "5", "6"}, 3},
		"it was down for longer":        {12 * time.Hour, nil, 0},
		"for longer, and others are up": {12 * time.Hour, []string{"4"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				file := filepath.Join(dir, "orders.json")
				content := `{"version":1,"service":"orders","saved":"` + time.Now().Add(-tc.age).UTC().Format(time.RFC3339) + `","instances":[` +
					`{"id":"1","endpoints":{"grpc":"h:1"}},{"id":"2","endpoints":{"grpc":"h:2"}},{"id":"3","endpoints":{"grpc":"h:3"}}]}`
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				d := memregistry.New()
				for _, id := range tc.has {
					if _, err := d.Register(t.Context(), driver.Record{Instance: orders(id)}, time.Hour, true); err != nil {
						t.Fatal(err)
					}
				}
				r := registry.New(d, registry.Config{CacheDir: dir})
				s, err := r.Watch("orders").Next(t.Context())
				if err != nil || s.Source != registry.Live || len(s.Instances) != tc.want {
					t.Errorf("%v, %v, %v", s.Source, s.Instances, err)
				}
				r.Close()
				b, err := os.ReadFile(file)
				if n := bytes.Count(b, []byte(`"id"`)); err != nil || n != tc.want {
					t.Errorf("%d instances on disk, want %d: %v", n, tc.want, err)
				}
			})
		})
	}
}

// TestColdStartFromGarbage: a file that is not ours is ignored and mentioned in the log, and replaced by a good one.
func TestColdStartFromGarbage(t *testing.T) {
	for name, content := range map[string]string{
		"garbage":      "\x00\x01garbage",
		"empty":        "",
		"cut off":      `{"version":1,"service":"orders","instances":[{"id":"1"`,
		"wrong kind":   `[1,2,3]`,
		"other":        `{"version":1,"service":"payment","saved":"2100-01-01T00:00:00Z","instances":[]}`,
		"future":       `{"version":9,"service":"orders","instances":[]}`,
		"old":          `{"version":1,"service":"orders","saved":"1999-01-01T00:00:00Z","instances":[]}`,
		"no address":   `{"version":1,"service":"orders","saved":"2100-01-01T00:00:00Z","instances":[{"id":"1","endpoints":{"grpc":""}}]}`,
		"no id":        `{"version":1,"service":"orders","saved":"2100-01-01T00:00:00Z","instances":[{"endpoints":{"grpc":"h:1"}}]}`,
		"deep nesting": strings.Repeat("[", 1<<20),
		"too large":    `{"version":1,"service":"orders","x":"` + strings.Repeat("x", 9<<20) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				file := filepath.Join(dir, "orders.json")
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				var log syncBuffer
				d := memregistry.New()
				d.Down()
				r := registry.New(d, registry.Config{CacheDir: dir, Logger: logTo(&log)})
				w := r.Watch("orders")
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if s, err := w.Next(ctx); err == nil {
					t.Errorf("garbage became %+v", s)
				}
				if n := strings.Count(log.String(), "disk copy of the registry ignored"); n != 1 {
					t.Errorf("logged %d times", n)
				}
				d.Up()
				if s, err := w.Next(t.Context()); err != nil || s.Source != registry.Live {
					t.Errorf("%v, %v", s.Source, err)
				}
				r.Close()
				if b, err := os.ReadFile(file); err != nil || !bytes.Contains(b, []byte(`"service": "orders"`)) {
					t.Errorf("file afterwards: %.100s, %v", b, err)
				}
			})
		})
	}
}

// TestDiskCopyIsQuiet: what changes all the time is written once a second, and what does not is left alone.
func TestDiskCopyIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		stale := filepath.Join(dir, ".orders.json.123")
		if err := os.WriteFile(stale, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(stale, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		d := memregistry.New()
		r := registry.New(d, registry.Config{CacheDir: dir})
		defer r.Close()
		w := r.Watch("orders")
		file := filepath.Join(dir, "orders.json")
		// os.Rename makes a new file each time.
		writes := 0
		var last os.FileInfo
		look := func() {
			info, err := os.Stat(file)
			if err == nil && (last == nil || !os.SameFile(last, info)) {
				writes++
				last = info
			}
		}
		for i := range 50 { // for 5 s
			rec := driver.Record{Instance: orders("1")}
			rec.Weight = i
			if _, err := d.Register(t.Context(), rec, time.Hour, true); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-time.After(100 * time.Millisecond)
			synctest.Wait()
			look()
		}
		if writes < 3 || writes > 7 {
			t.Errorf("%d writes in 5 s of changes", writes)
		}
		<-time.After(2 * time.Second)
		look()
		before := writes
		for range 30 {
			<-time.After(time.Minute)
			look()
		}
		if writes != before {
			t.Errorf("%d writes in half an hour without a change", writes-before)
		}
		names, err := os.ReadDir(dir)
		if err != nil || len(names) != 1 {
			t.Errorf("files: %v, %v; want one", names, err)
		}
	})
}

// TestDiskCopyNotWritable: a disk that cannot be written to is mentioned and takes nothing away.
func TestDiskCopyNotWritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notADir := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(notADir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var log syncBuffer
		d := memregistry.New()
		if _, err := d.Register(t.Context(), driver.Record{Instance: orders("1")}, time.Hour, true); err != nil {
			t.Fatal(err)
		}
		r := registry.New(d, registry.Config{CacheDir: notADir, Logger: logTo(&log)})
		s, err := r.Watch("orders").Next(t.Context())
		if err != nil || len(s.Instances) != 1 {
			t.Errorf("%v, %v", s.Instances, err)
		}
		r.Close()
		if !strings.Contains(log.String(), "not written") {
			t.Errorf("not mentioned:\n%s", log.String())
		}
	})
}
