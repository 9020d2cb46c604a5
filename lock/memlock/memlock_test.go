package memlock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/lock/locktest"
	"github.com/holdfast-go/holdfast/lock/memlock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type engine struct{ *memlock.Driver }

func (e engine) Open(testing.TB) (driver.Engine, locktest.Link) {
	d := e.Another()
	return d, d
}

func TestConformance(t *testing.T) {
	for name, delay := range map[string]time.Duration{"quick": 0, "slow": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			locktest.Run(t, locktest.Config{
				New: func(*testing.T) locktest.Engine { return slow{engine{memlock.New()}, delay} },
				In:  func(t *testing.T, run func(*testing.T)) { synctest.Test(t, run) },
				TTL: 10 * time.Second, Grants: 10 * time.Second, Within: 20 * time.Second,
			})
		})
	}
}

// slow is an engine that is far away.
type slow struct {
	engine
	delay time.Duration
}

func (s slow) Open(t testing.TB) (driver.Engine, locktest.Link) {
	d := s.Another()
	d.Slow(s.delay)
	return d, d
}
