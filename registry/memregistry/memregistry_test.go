package memregistry_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/registry/registrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type engine struct{ *memregistry.Driver }

func (e engine) Open(testing.TB) driver.Registry { return e.Driver }

func TestConformance(t *testing.T) {
	registrytest.Run(t, registrytest.Config{
		New:         func(*testing.T) registrytest.Engine { return engine{memregistry.New()} },
		In:          func(t *testing.T, run func(*testing.T)) { synctest.Test(t, run) },
		TTL:         10 * time.Second,
		RelistEvery: 30 * time.Second,
		Within:      10 * time.Second,
	})
}
