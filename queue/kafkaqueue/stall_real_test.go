//go:build real && unix

package kafkaqueue_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/kafkatest"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
)

var stallFor = flag.Duration("stall", 30*time.Second, "how long TestRealNoGroupStandsStill makes trouble")

// TestRealNoGroupStandsStill: members are killed, frozen, and replaced under their names while they are frozen; the broker
// is killed. As soon as all are left alone, all of what was published is handled: at the latest when those that are missed
// have been given up, and what they had has been given out.
func TestRealNoGroupStandsStill(t *testing.T) {
	const topics, members, limit = 6, 3, 90 * time.Second
	b := startBroker(t, kafkatest.Config{})
	dir := t.TempDir()
	start := func(i int) *exec.Cmd {
		text, _ := json.Marshal(member{Name: "m-" + strconv.Itoa(i), Broker: b.Addr(), Dir: dir, Topics: topics})
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), memberEnv+"="+string(text))
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	end := func(cmd *exec.Cmd) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	d, err := kafkaqueue.Open(kafkaqueue.Config{Brokers: []string{b.Addr()}, Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for i := range topics {
		if err := d.Declare(t.Context(), driver.Topic{Name: "t" + strconv.Itoa(i), Groups: []string{"g"}, Replicas: 1, Partitions: 4}); err != nil {
			t.Fatal(err)
		}
	}
	all := make([]*exec.Cmd, members)
	for i := range all {
		all[i] = start(i)
	}
	defer func() {
		for _, cmd := range all {
			end(cmd)
		}
	}()

	begun := time.Now()
	said := func(format string, args ...any) {
		t.Logf("%7.2f s  %s", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	var publishing sync.WaitGroup
	var mu sync.Mutex
	confirmed := map[string]time.Time{}
	over, stop := context.WithCancel(t.Context())
	for i := range topics {
		publishing.Go(func() {
			topic := "t" + strconv.Itoa(i)
			for n := 0; over.Err() == nil; n++ {
				ms := []*driver.Message{message("k"+strconv.Itoa(n%7), n)}
				for {
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					err := errors.Join(d.Publish(ctx, topic, ms)...)
					cancel()
					if err == nil {
						break
					}
				}
				mu.Lock()
				confirmed[topic+"/"+ms[0].ID] = time.Now()
				mu.Unlock()
				pause(300 * time.Millisecond)
			}
		})
	}

	seed := uint64(time.Now().UnixNano())
	said("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	between := func(from, to time.Duration) time.Duration { return from + time.Duration(rnd.Int64N(int64(to-from))) }
	for time.Since(begun) < *stallFor {
		pause(between(200*time.Millisecond, 6*time.Second))
		i := rnd.IntN(members)
		switch rnd.IntN(7) {
		case 0, 1:
			said("%d killed", i)
			end(all[i])
			pause(between(0, time.Second))
			all[i] = start(i)
		case 2, 3:
			long := between(time.Second, 15*time.Second)
			said("%d frozen for %v", i, long)
			_ = all[i].Process.Signal(syscall.SIGSTOP)
			pause(long)
			_ = all[i].Process.Signal(syscall.SIGCONT)
		case 4:
			long := between(time.Second, 12*time.Second)
			said("%d frozen for %v, and another in its place", i, long)
			old := all[i]
			_ = old.Process.Signal(syscall.SIGSTOP)
			pause(between(0, 2*time.Second))
			all[i] = start(i)
			pause(long)
			_ = old.Process.Signal(syscall.SIGCONT)
			pause(between(0, 8*time.Second))
			end(old)
		case 5:
			said("all killed")
			for _, cmd := range all {
				end(cmd)
			}
			pause(between(0, time.Second))
			for i := range all {
				all[i] = start(i)
			}
		case 6:
			said("broker killed")
			b.Kill()
			pause(between(0, 3*time.Second))
			if err := b.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			said("broker back")
		}
	}
	stop()
	publishing.Wait()
	said("all left alone, %d messages", len(confirmed))
	for done := time.Now(); ; pause(500 * time.Millisecond) {
		at := handledBy(t, dir)
		var missing []string
		for id := range confirmed {
			if at[id].IsZero() {
				missing = append(missing, id)
			}
		}
		if len(missing) > 0 && time.Since(done) < limit {
			continue
		}
		worst, which := time.Duration(0), ""
		for id, since := range confirmed {
			if w := at[id].Sub(since); w > worst {
				worst, which = w, id
			}
		}
		said("%s waited for longest: %v, until %.2f s", which, worst, at[which].Sub(begun).Seconds())
		if len(missing) > 0 {
			t.Errorf("nothing came of %v for %v", missing, limit)
		}
		return
	}
}

// handledBy returns when each message was handled first.
func handledBy(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	out := map[string]time.Time{}
	names, _ := filepath.Glob(filepath.Join(dir, "*.seen"))
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			id, at, _ := strings.Cut(lines.Text(), " ")
			n, err := strconv.ParseInt(at, 10, 64)
			if first := out[id]; err == nil && (first.IsZero() || first.After(time.Unix(0, n))) {
				out[id] = time.Unix(0, n)
			}
		}
		_ = f.Close()
	}
	return out
}
