//go:build real && unix

package kafkaqueue_test

import (
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/kafkatest"
)

// TestRealStorm, TestRealZombie and TestRealKilledWhileGivingUp are their namesakes on a real broker.
func TestRealStorm(t *testing.T) {
	storm(t, startBroker(t, kafkatest.Config{}), time.Second, true)
}

func TestRealZombie(t *testing.T) {
	zombie(t, startBroker(t, kafkatest.Config{}))
}

func TestRealKilledWhileGivingUp(t *testing.T) {
	killedWhileGivingUp(t, startBroker(t, kafkatest.Config{}))
}
