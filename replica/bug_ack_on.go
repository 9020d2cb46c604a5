//go:build bug_ack

package replica

import (
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

// behind returns what writes commands to the log a second after they were said to be durable: a bug that a drill must find
// (go run ./bench/bugs). What is no command, such as a vote, it writes at once, after all that came before.
func behind(w *writer) func([]wal.Update) {
	var mu sync.Mutex
	var waiting [][]wal.Update
	flush := func(n int) {
		for ; n > 0 && len(waiting) > 0; n-- {
			_ = w.host.wal.Append(waiting[0])
			waiting = waiting[1:]
		}
	}
	return func(updates []wal.Update) {
		mu.Lock()
		defer mu.Unlock()
		if len(updates) == 0 {
			return
		}
		updates = slices.Clone(updates)
		for i := range updates {
			updates[i].Entries = slices.Clone(updates[i].Entries)
		}
		waiting = append(waiting, updates)
		if slices.ContainsFunc(updates, func(u wal.Update) bool { return u.Mark != nil || len(u.Entries) == 0 }) {
			flush(len(waiting))
			return
		}
		time.AfterFunc(time.Second, func() {
			mu.Lock()
			defer mu.Unlock()
			flush(1)
		})
	}
}
