package natsqueue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The client library keeps everybody waiting while it connects again, to a server that is frozen for two seconds. Nobody who asks something
// waits for longer than they have, and what comes of it later is given back.
func TestAdminEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{link: newLink(Config{})}
		e.link.once.Do(func() { close(e.link.made) })
		e.link.isUp()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		dropped := 0
		begun := time.Now()
		v, err := admin(ctx, e, func(v int) { dropped = v }, func(context.Context) (int, error) {
			<-time.After(2 * time.Second)
			return 7, nil
		})
		if took := time.Since(begun); v != 0 || !errors.Is(err, context.DeadlineExceeded) || took != time.Second+grace {
			t.Errorf("%d, %v after %v", v, err, took)
		}
		e.beside.Wait()
		if dropped != 7 {
			t.Errorf("dropped %d", dropped)
		}
	})
}
