package replica

import (
	"errors"
	"testing"
	"time"
)

func TestAFailedGroupIsToldOf(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		told := make(chan error, 2)
		a := w.boxes["a"]
		a.cfg = func(c *Config) { c.Failed = func(_ *Group, err error) { told <- err } }
		a.start()
		a.put("x", "1")
		if err := a.g.Err(); err != nil {
			t.Error(err)
		}
		_ = a.tryPut(time.Second, "panic", "boom")
		if err := <-told; !errors.Is(err, ErrFailed) {
			t.Errorf("told of %v", err)
		}
		<-a.g.Done()
		if err := a.g.Err(); !errors.Is(err, ErrFailed) {
			t.Errorf("Err is %v", err)
		}
		g, err := a.host.Group("other", newRegister(), GroupConfig{})
		if err != nil {
			t.Fatal(err)
		}
		<-g.Ready()
		a.stop()
		if err := g.Err(); !errors.Is(err, ErrStopped) {
			t.Errorf("Err of the other is %v", err)
		}
		if len(told) > 0 {
			t.Errorf("told of %v, too", <-told)
		}
	})
}
