package kv_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shoptest"
)

// follow runs v until the returned function is called.
func follow[T any](t *testing.T, v *kv.View[T]) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- v.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

func TestAViewFollowsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(kv.Memory)
		put(t, db, "n/a", 1)
		put(t, db, "other", 9)
		v := kv.OpenView[int](db, "n/", "", shoptest.Quiet())
		if _, ok := v.Get("a"); ok {
			t.Fatal("known before anything was read")
		}
		defer follow(t, v)()
		synctest.Wait()
		put(t, db, "n/b", 2)
		put(t, db, "n/a", 3)
		synctest.Wait()
		if all := v.All(); len(all) != 2 || all["a"] != 3 || all["b"] != 2 {
			t.Fatalf("%v", all)
		}
		if _, err := db.Commit(t.Context(), kv.Txn{Delete: []string{"n/a"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, ok := v.Get("a"); ok {
			t.Fatal("still there")
		}
	})
}

func TestAViewAnswersWhileTheStoreIsAwayAndCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		db := new(kv.Memory)
		faulty := hangs{shoptest.KV{KV: db, Fault: func(string) shoptest.Fate {
			if away.Load() {
				return shoptest.Lost
			}
			return shoptest.Works
		}}, &away}
		put(t, db, "n/a", 1)
		v := kv.OpenView[int](faulty, "n/", "", shoptest.Quiet())
		defer follow(t, v)()
		synctest.Wait()
		away.Store(true)
		put(t, db, "n/a", 2) // by others, who can reach it
		time.Sleep(time.Minute)
		if n, _ := v.Get("a"); n != 1 {
			t.Fatalf("%d: it cannot know", n)
		}
		away.Store(false)
		time.Sleep(5 * time.Second)
		if n, _ := v.Get("a"); n != 2 {
			t.Fatalf("%d after the store came back", n)
		}
	})
}

// hangs is a store whose watches are silent while it is away, as those of a frozen etcd.
type hangs struct {
	shoptest.KV
	away *atomic.Bool
}

func (h hangs) Watch(ctx context.Context, prefix string, after int64, apply func([]kv.Entry)) error {
	return h.KV.Watch(ctx, prefix, after, func(changes []kv.Entry) {
		if !h.away.Load() {
			apply(changes)
		}
	})
}

func TestAViewStartsFromItsCopyOnDisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dir", "copy.json")
	synctest.Test(t, func(t *testing.T) {
		db := new(kv.Memory)
		put(t, db, "n/a", 1)
		stop := follow(t, kv.OpenView[int](db, "n/", file, shoptest.Quiet()))
		synctest.Wait()
		put(t, db, "n/b", 2)
		time.Sleep(3 * time.Second)
		stop()
	})
	never := shoptest.KV{KV: new(kv.Memory), Fault: func(string) shoptest.Fate { return shoptest.Lost }}
	v := kv.OpenView[int](never, "n/", file, shoptest.Quiet())
	if a, _ := v.Get("a"); a != 1 {
		t.Errorf("a is %d", a)
	}
	if b, _ := v.Get("b"); b != 2 {
		t.Errorf("b is %d", b)
	}
	if all := kv.OpenView[int](never, "another/", file, shoptest.Quiet()).All(); len(all) != 0 {
		t.Errorf("from the copy of another view: %v", all)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A store that comes back empty is not one whose values were all removed: its revision has gone back.
func TestAViewKeepsWhatTheStoreHasLost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "copy.json")
	synctest.Test(t, func(t *testing.T) {
		db := &replaced{now: new(kv.Memory)}
		put(t, db, "n/a", 1)
		put(t, db, "n/b", 2)
		put(t, db, "n/c", 3)
		stop := follow(t, kv.OpenView[int](db, "n/", file, shoptest.Quiet()))
		time.Sleep(3 * time.Second)
		stop()

		db.now = new(kv.Memory)
		v := kv.OpenView[int](db, "n/", file, shoptest.Quiet())
		defer follow(t, v)()
		time.Sleep(time.Minute) // over several lists
		if all := v.All(); len(all) != 3 || all["a"] != 1 {
			t.Fatalf("left of an empty store: %v", all)
		}
		put(t, db, "n/a", 4)
		time.Sleep(time.Minute)
		if _, err := db.Commit(t.Context(), kv.Txn{Delete: []string{"n/a"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if all := v.All(); len(all) != 2 || all["b"] != 2 {
			t.Fatalf("after one was put again and removed: %v", all)
		}
		time.Sleep(3 * time.Second)
		if all := kv.OpenView[int](db, "n/", file, shoptest.Quiet()).All(); len(all) != 2 {
			t.Fatalf("on disk: %v", all)
		}
		put(t, db, "elsewhere", 1)
		put(t, db, "elsewhere", 2)
		time.Sleep(time.Minute)
		if all := v.All(); len(all) != 0 {
			t.Fatalf("the store has gone on without them: %v", all)
		}
	})
}

// replaced is a store that is another one from time to time.
type replaced struct{ now *kv.Memory }

func (r *replaced) Get(ctx context.Context, keys ...string) ([]kv.Entry, error) {
	return r.now.Get(ctx, keys...)
}

func (r *replaced) List(ctx context.Context, in kv.Range) (kv.Page, error) {
	return r.now.List(ctx, in)
}

func (r *replaced) Commit(ctx context.Context, tx kv.Txn) (int64, error) {
	return r.now.Commit(ctx, tx)
}

func (r *replaced) Watch(ctx context.Context, prefix string, after int64, apply func([]kv.Entry)) error {
	return r.now.Watch(ctx, prefix, after, apply)
}

func TestOneUnreadableRecordTakesNothingElseAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(kv.Memory)
		put(t, db, "n/a", 1)
		put(t, db, "n/b", 1)
		v := kv.OpenView[int](db, "n/", "", shoptest.Quiet())
		defer follow(t, v)()
		synctest.Wait()
		put(t, db, "n/a", "not a number")
		put(t, db, "n/b", 2)
		time.Sleep(time.Minute) // over several lists
		a, _ := v.Get("a")
		b, _ := v.Get("b")
		if a != 1 || b != 2 {
			t.Fatalf("a %d, b %d", a, b)
		}
	})
}

// A copy on disk may be anything: it is taken as a whole or not at all, and nothing crashes.
func FuzzCopyOnDisk(f *testing.F) {
	f.Add([]byte(`{"prefix":"n/","revision":7,"values":{"a":1,"b":2}}`))
	f.Add([]byte(`{"prefix":"n/","values":{"a":1,"b":"x"}}`))
	f.Add([]byte(`{"prefix":"n/","values":null}`))
	f.Add([]byte("\x00\xff{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file := filepath.Join(t.TempDir(), "copy.json")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		v := kv.OpenView[int](new(kv.Memory), "n/", file, shoptest.Quiet())
		for name := range v.All() {
			if _, ok := v.Get(name); !ok {
				t.Fatalf("%q is listed and not there", name)
			}
		}
	})
}
