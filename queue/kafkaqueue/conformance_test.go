package kafkaqueue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/queue/queuetest"
)

func TestConformance(t *testing.T) {
	queuetest.Run(t, queuetest.Config{
		New:  func(t *testing.T) queuetest.Engine { return newFake(t) },
		In:   func(t *testing.T, run func(*testing.T)) { synctest.Test(t, run) },
		Hold: 5 * time.Second, Within: 20 * time.Second, Messages: 1000,
	})
}
