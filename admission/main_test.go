package admission

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// more is for who changes how the limit is found: -more 5 takes minutes.
var more = flag.Uint64("more", 1, "how many times as many seeds as usual")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
