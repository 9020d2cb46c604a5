//go:build !bug_drain

package holdfast

// bugDrain has an instance that is to stop cut off what it has begun: a bug that a drill must find (go run ./bench/bugs).
const bugDrain = false
