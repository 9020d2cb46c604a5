package kafkaqueue_test

import (
	"testing"

	"go.uber.org/goleak"
)

// role is what this process does instead of tests, if it is a child of one. It does not return then.
var role = func() {}

func TestMain(m *testing.M) {
	role()
	goleak.VerifyTestMain(m)
}
