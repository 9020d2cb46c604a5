//go:build !bug_fence

package etcdguard

// bugFence takes writes with any token: a bug that a drill must find (go run ./bench/bugs).
const bugFence = false
