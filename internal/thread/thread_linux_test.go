package thread

import (
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// So many threads are taken at once that the first one of the process is among them, unless it is left out.
func TestNotTheFirst(t *testing.T) {
	const n = 50
	var (
		wg, all sync.WaitGroup
		ids     [n]int
	)
	wg.Add(n)
	all.Add(n)
	for i := range n {
		Go(func() {
			defer wg.Done()
			ids[i] = syscall.Gettid()
			all.Done()
			all.Wait() // none is free for another one
		})
	}
	wg.Wait()
	seen := map[int]bool{syscall.Getpid(): true}
	for i, id := range ids {
		if seen[id] {
			t.Errorf("%d runs on thread %d, which is the first of the process or another's", i, id)
		}
		seen[id] = true
	}
	tick, timeout := time.NewTicker(time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for _, id := range ids {
		for exists(id) {
			select {
			case <-tick.C:
			case <-timeout:
				t.Fatalf("thread %d has not ended with what it ran", id)
			}
		}
	}
}

func exists(id int) bool {
	_, err := os.Stat("/proc/self/task/" + strconv.Itoa(id))
	return err == nil
}
