//go:build !linux

package autoscale

import "time"

// processorTime is not known here without cgo; what processes say of themselves is.
func processorTime(int) (time.Duration, bool) { return 0, false }

// groupTimes are not known either.
func groupTimes() map[int]map[int]time.Duration { return nil }
