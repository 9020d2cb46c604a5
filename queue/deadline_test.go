package queue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type valueKey struct{}

func TestDeadlineIsAsContextHasIt(t *testing.T) {
	for what, ends := range map[string]func(d *deadline, stop context.CancelCauseFunc){
		"its time comes":      func(*deadline, context.CancelCauseFunc) { <-time.After(time.Minute) },
		"the handler returns": func(d *deadline, _ context.CancelCauseFunc) { d.end() },
		"the run ends":        func(_ *deadline, stop context.CancelCauseFunc) { stop(errStopping) },
	} {
		for _, asked := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				base, stop := context.WithCancelCause(context.WithValue(t.Context(), valueKey{}, "v"))
				defer stop(nil)
				at := time.Now().Add(time.Minute)
				want, cancel := context.WithDeadline(base, at)
				defer cancel()
				d := withDeadline(base, at)
				defer d.end()
				var child context.Context = d
				if asked {
					select {
					case <-d.Done():
						t.Error("it is done at once")
					default:
					}
					var cancelChild context.CancelFunc
					child, cancelChild = context.WithCancel(d)
					defer cancelChild()
				}
				if got, ok := d.Deadline(); !ok || !got.Equal(at) || d.Err() != nil || d.Value(valueKey{}) != "v" {
					t.Errorf("%v %v %v %v", got, ok, d.Err(), d.Value(valueKey{}))
				}
				ends(d, stop)
				if what == "the handler returns" {
					cancel()
				}
				synctest.Wait()
				<-want.Done()
				if !errors.Is(d.Err(), want.Err()) || !errors.Is(child.Err(), want.Err()) {
					t.Errorf("%s, asked %v: %v, below it %v; want %v", what, asked, d.Err(), child.Err(), want.Err())
				}
				<-d.Done()
				if !errors.Is(d.Err(), want.Err()) || !errors.Is(context.Cause(d), context.Cause(want)) {
					t.Errorf("%s, asked %v, then: %v because of %v; want %v because of %v", what, asked, d.Err(), context.Cause(d), want.Err(), context.Cause(want))
				}
				if d.Value(valueKey{}) != "v" {
					t.Error("its value is gone")
				}
			})
		}
	}
}

// For the race detector, and goleak.
func TestDeadlineIsAskedByManyAndEnded(t *testing.T) {
	for range 200 {
		d := withDeadline(t.Context(), time.Now().Add(time.Hour))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				<-d.Done()
				if d.Err() == nil {
					t.Error("done, and no error")
				}
			})
		}
		wg.Go(d.end)
		wg.Wait()
	}
}

func BenchmarkDeadline(b *testing.B) {
	base, stop := context.WithCancelCause(b.Context())
	defer stop(nil)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			withDeadline(base, time.Now().Add(time.Minute)).end()
		}
	})
	b.Run("context", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, cancel := context.WithDeadline(base, time.Now().Add(time.Minute))
			cancel()
		}
	})
}
