//go:build !unix

package autoscale

// processGroup is not known here: there are none.
func processGroup(int) (group int, ok bool) { return 0, false }
