package memconfig_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/config/configtest"
	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/config/memconfig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type engine struct{ *memconfig.Driver }

func (e engine) Open(testing.TB) driver.Store { return e.Driver }

func (e engine) Wipe() {
	e.Driver.Wipe()
	e.Up()
}

func TestConformance(t *testing.T) {
	configtest.Run(t, configtest.Config{
		New:         func(*testing.T) configtest.Engine { return engine{memconfig.New()} },
		In:          func(t *testing.T, run func(*testing.T)) { synctest.Test(t, run) },
		RelistEvery: 30 * time.Second,
		Within:      10 * time.Second,
	})
}
