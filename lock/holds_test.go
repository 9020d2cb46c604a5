package lock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/memlock"
)

func TestHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := memlock.New()
		defer engine.Close()
		l := lock.New(engine, lock.Config{})
		defer l.Close()
		if got := l.Holds(); len(got) != 0 {
			t.Errorf("before there is a session: %v", got)
		}
		second, err := l.Mutex("b").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		<-time.After(time.Minute)
		first, err := l.Mutex("a").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := l.Holds()
		if len(got) != 2 || got[0].Name != "a" || got[1].Name != "b" || got[1].Token != second.Token() || !got[1].Since.Equal(begun.Round(0)) {
			t.Errorf("got %+v", got)
		}
		if err := first.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := l.Holds(); len(got) != 1 || got[0].Name != "b" {
			t.Errorf("after one was given back: %+v", got)
		}
		_ = l.Close()
		if got := l.Holds(); len(got) != 0 {
			t.Errorf("after the end: %+v", got)
		}
	})
}
