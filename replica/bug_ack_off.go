//go:build !bug_ack

package replica

import "github.com/holdfast-go/holdfast/replica/internal/wal"

// behind returns what writes to the log after it was said to be durable: nil, since nothing does. With the build tag bug_ack
// it is a bug that a drill must find (go run ./bench/bugs).
func behind(*writer) func([]wal.Update) { return nil }
