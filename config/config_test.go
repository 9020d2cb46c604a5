package config_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/config/memconfig"
)

func text(_ string, b []byte) (string, error) { return string(b), nil }

func TestKeysAreChecked(t *testing.T) {
	s := config.New(memconfig.New(), config.Config{})
	defer s.Close()
	for _, key := range []string{
		"", "/a", "a/", "a//b", "..", "a/../b", ".a", "a b", "ü", "a\x00", "a\n", strings.Repeat("a", driver.MaxElement+1),
		strings.Repeat("a/", driver.MaxKey/2) + "a",
	} {
		if _, err := s.Put(t.Context(), key, nil); err == nil {
			t.Errorf("put %q was accepted", key)
		}
		if _, err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("delete %q was accepted", key)
		}
		if _, _, err := s.Get(t.Context(), key); err == nil {
			t.Errorf("get %q was accepted", key)
		}
	}
	for _, key := range []string{"a", "a/b", "A-b_c.9/d", strings.Repeat("a", driver.MaxElement)} {
		if _, err := s.Put(t.Context(), key, []byte("1")); err != nil {
			t.Error(err)
		}
		if e, found, err := s.Get(t.Context(), key); err != nil || !found || string(e.Value) != "1" {
			t.Errorf("get %q: %+v, %v, %v", key, e, found, err)
		}
	}
	if _, err := s.Put(t.Context(), "a", make([]byte, driver.MaxValue+1)); err == nil {
		t.Error("a value that is too large was accepted")
	}
	w := config.Follow(s, "a b", text)
	if _, err := w.Next(t.Context()); err == nil || errors.Is(err, config.ErrClosed) {
		t.Errorf("a wrong prefix: %v", err)
	}
}

func TestCloseAndStopEndWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := memconfig.New()
		engine.Freeze()
		s := config.New(engine, config.Config{})
		stopped, closed := config.Follow(s, "a/", text), config.Follow(s, "b/", text)
		ended := make(chan error, 2)
		for _, w := range []*config.Watch[string]{stopped, closed} {
			go func() {
				_, err := w.Next(t.Context())
				ended <- err
			}()
		}
		synctest.Wait()
		stopped.Stop()
		stopped.Stop()
		if err := <-ended; !errors.Is(err, config.ErrClosed) {
			t.Errorf("Next after Stop = %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, config.ErrClosed) {
			t.Errorf("Next after Close = %v", err)
		}
		if _, err := config.Follow(s, "c/", text).Next(t.Context()); !errors.Is(err, config.ErrClosed) {
			t.Errorf("Next of a closed store = %v", err)
		}
		engine.Thaw()
	})
}

// TestTheEngineIsAskedAgainWithinASecondOfItsReturn: that is how late a change can be after an outage, however long it was.
func TestTheEngineIsAskedAgainWithinASecondOfItsReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := memconfig.New()
		s := config.New(engine, config.Config{})
		defer s.Close()
		w := config.Follow(s, "a/", text)
		if _, err := w.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		engine.Down()
		if set, err := w.Next(t.Context()); err != nil || set.Source != config.Stale {
			t.Fatalf("%v, %v", set.Source, err)
		}
		<-time.After(time.Hour)
		engine.Up()
		if _, err := s.Put(t.Context(), "a/b", []byte("1")); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for {
			set, err := w.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if set.Settings["a/b"].InForce {
				break
			}
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("in force %v after the engine was back", took)
		}
	})
}
