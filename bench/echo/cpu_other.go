//go:build !unix

package main

import "time"

// used returns nothing: there is no portable way to ask.
func used() (cpu time.Duration, sleeps int64) { return 0, 0 }
