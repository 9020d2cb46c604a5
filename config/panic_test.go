package config_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/config/memconfig"
	"github.com/holdfast-go/holdfast/lifecycle"
)

// explode is a decoder with a bug.
func explode(_ string, b []byte) (string, error) {
	if strings.HasPrefix(string(b), "bad") {
		panic("decoded " + string(b))
	}
	return string(b), nil
}

// TestADecoderThatPanicsRefuses: one document must not end every process that follows its key.
func TestADecoderThatPanicsRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := config.New(memconfig.New(), config.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		defer s.Close()
		w := config.Follow(s, "a/", explode)
		for _, value := range []string{"good", "bad"} {
			if _, err := s.Put(t.Context(), "a/b", []byte(value)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		set, _ := w.Current()
		got := set.Settings["a/b"]
		var p *lifecycle.PanicError
		if !got.InForce || got.Value != "good" || !errors.As(got.Refused, &p) {
			t.Errorf("in force is %+v", got)
		}
		s.Close()
		if !strings.Contains(log.String(), "decoded bad") || !strings.Contains(log.String(), "panic_test.go") {
			t.Errorf("the stack is not in the log:\n%s", &log)
		}
	})
}

// TestADecoderThatPanicsAtTheCopyOnDisk: what was good for another version of the program does not keep this one from starting.
func TestADecoderThatPanicsAtTheCopyOnDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		engine := memconfig.New()
		s := config.New(engine, config.Config{CacheDir: dir, Logger: slog.New(slog.DiscardHandler)})
		for _, key := range []string{"a/good", "a/bad"} {
			if _, err := s.Put(t.Context(), key, []byte(strings.TrimPrefix(key, "a/"))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := config.Follow(s, "a/", text).Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Close()
		engine.Down()
		s = config.New(engine, config.Config{CacheDir: dir, Logger: slog.New(slog.DiscardHandler)})
		defer s.Close()
		set, err := config.Follow(s, "a/", explode).Next(context.Background())
		if _, bad := set.Settings["a/bad"]; err != nil || set.Source != config.Disk || set.Settings["a/good"].Value != "good" || bad {
			t.Errorf("in force are %+v, %v", set, err)
		}
	})
}
