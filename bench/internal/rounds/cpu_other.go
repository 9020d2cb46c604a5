//go:build !unix

package rounds

import "time"

// Used returns nothing: there is no portable way to ask.
func Used() (cpu time.Duration, sleeps int64) { return 0, 0 }
