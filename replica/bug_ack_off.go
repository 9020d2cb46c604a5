//go:build !bug_ack

package replica

// bugAck has the log say that something is durable before it has written it: a bug that a drill must find (go run ./bench/bugs).
const bugAck = false
