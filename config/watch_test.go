package config_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/config/memconfig"
)

// odd is an engine that has a key which nobody can have put, such as the file that an editor leaves behind.
type odd struct{ *memconfig.Driver }

func (o odd) List(ctx context.Context, prefix string) (driver.Listing, error) {
	l, err := o.Driver.List(ctx, prefix)
	l.Entries = append(l.Entries, driver.Entry{Key: prefix + "orders~", Value: []byte("old"), Revision: 1})
	return l, err
}

// TestAnOddKeyIsNoChange: it would be one at each listing, for Next and for the copy on disk.
func TestAnOddKeyIsNoChange(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := config.New(odd{memconfig.New()}, config.Config{CacheDir: dir, Logger: slog.New(slog.DiscardHandler)})
		defer s.Close()
		if _, err := s.Put(t.Context(), "a/b", []byte("1")); err != nil {
			t.Fatal(err)
		}
		w := config.Follow(s, "a/", text)
		if _, err := w.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		copies, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(copies) != 1 {
			t.Fatalf("copies on disk: %v, %v", copies, err)
		}
		if err := os.Remove(copies[0]); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // ten listings, and less than the refresh of the copy
		defer cancel()
		if set, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next = %+v, %v", set, err)
		}
		if _, err := os.Stat(copies[0]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the copy on disk was written again: %v", err)
		}
	})
}

// TestAValueIsThereWhileAnotherIsDecoded: who asks for what is in force waits for nobody's decoder.
func TestAValueIsThereWhileAnotherIsDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := config.New(memconfig.New(), config.Config{Logger: slog.New(slog.DiscardHandler)})
		defer s.Close()
		goOn := make(chan struct{})
		v := config.NewValue(s, "limit", "none", func(b []byte) (string, error) {
			if string(b) == "slow" {
				<-goOn
			}
			return string(b), nil
		})
		for _, value := range []string{"first", "slow"} {
			if _, err := s.Put(t.Context(), "limit", []byte(value)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		got := make(chan string, 1)
		go func() { got <- v.Get() }()
		<-time.After(time.Second) // of the bubble: whoever can go on has done so
		select {
		case value := <-got:
			if value != "first" {
				t.Errorf("in force is %q", value)
			}
		default:
			t.Error("Get waits for the decoder")
		}
		close(goOn)
		synctest.Wait()
		if value := v.Get(); value != "slow" {
			t.Errorf("in force is %q", value)
		}
	})
}

// TestAValueOfAKeyThatNothingCanHaveSaysSo: its fallback would be in force for ever, and nobody would know why.
func TestAValueOfAKeyThatNothingCanHaveSaysSo(t *testing.T) {
	for _, key := range []string{"max users", "limits/", ""} {
		var log bytes.Buffer
		s := config.New(memconfig.New(), config.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		v := config.NewValue(s, key, 7, func([]byte) (int, error) { return 1, nil })
		if err := v.Changed(t.Context()); err == nil || errors.Is(err, config.ErrClosed) || v.Get() != 7 {
			t.Errorf("%q: %d is in force, %v", key, v.Get(), err)
		}
		s.Close()
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%q: %d warnings:\n%s", key, n, &log)
		}
	}
}
