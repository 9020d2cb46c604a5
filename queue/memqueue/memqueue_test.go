package memqueue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/queue/queuetest"
)

// engine is one of the suite: clients of a memqueue.
type engine struct{ *memqueue.Engine }

func (e engine) Open(testing.TB) (driver.Engine, queuetest.Link) {
	c := e.Connect()
	return c, c
}

func (e engine) Restart() { e.Faults().Restart() }

func TestConformance(t *testing.T) {
	queuetest.Run(t, queuetest.Config{
		New:  func(*testing.T) queuetest.Engine { return engine{memqueue.New(memqueue.Config{})} },
		In:   func(t *testing.T, run func(*testing.T)) { synctest.Test(t, run) },
		Hold: 10 * time.Second, Within: 20 * time.Second,
	})
}
