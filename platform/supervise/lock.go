//go:build unix

package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-go/holdfast/failure"
)

// lockWait is longer than a guardian needs to kill what a supervisor left: it holds the lock until then.
const lockWait = guardWait + time.Second

// lockDir takes the lock on a data directory. It is held by the open file, which the guardian inherits, and so until
// both are gone.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	deadline := time.Now().Add(lockWait)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, writePID(f)
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			f.Close()
			return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
		}
		if time.Now().After(deadline) {
			defer f.Close()
			return nil, inUse(dir, readPID(f))
		}
		<-tick.C
	}
}

func inUse(dir string, holder int) error {
	who := "another process"
	if holder != 0 {
		who = fmt.Sprintf("process %d", holder)
	}
	return failure.New(failure.AlreadyExists, "data directory %s is in use by %s", dir, who)
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("lock data directory: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("lock data directory: %w", err)
	}
	return nil
}

// readPID returns who says to hold the lock, 0 if that cannot be read.
func readPID(f *os.File) int {
	b, _ := io.ReadAll(io.NewSectionReader(f, 0, 32))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}
