//go:build !unix

package fault

import "time"

// processorTime is not known here.
func processorTime() time.Duration { return 0 }
