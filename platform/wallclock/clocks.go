package wallclock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Variable is the one by which processes find the directory of Clocks. The file in it is named after HOLDFAST_INSTANCE.
const Variable = "HOLDFAST_CLOCKS"

// ErrFixed says that the clock of an instance cannot be moved.
var ErrFixed = errors.New("its clock cannot be moved: it was not built for that")

// Clocks are those of the instances of one system. Safe for concurrent use, with no two Sets for one instance at once.
type Clocks struct{ dir string }

// Open makes a directory of clocks, all of which are right. Processes that have clocks in it must be gone.
func Open(dir string) (*Clocks, error) {
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("clocks: %w", err)
	}
	return &Clocks{dir}, nil
}

// Env is what processes are told.
func (c *Clocks) Env() string { return Variable + "=" + c.dir }

// Follows reports whether a process of the instance has been started that looks at its file.
func (c *Clocks) Follows(instance string) bool {
	_, err := os.Stat(c.file(instance))
	return err == nil
}

// Set lets the clock of an instance be wrong by so much, in all its processes, those that are started later included; 0
// puts it right. Programs see it with their next look at the clock. An instance whose program was not built for it is ErrFixed.
func (c *Clocks) Set(instance string, by time.Duration) error {
	f, err := os.OpenFile(c.file(instance), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clock of %s: %w", instance, ErrFixed)
	}
	if err != nil {
		return fmt.Errorf("clock of %s: %w", instance, err)
	}
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], uint64(by))
	_, err = f.WriteAt(b[:], 0) // one word of one page: nobody sees half of it
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("clock of %s: %w", instance, err)
	}
	return nil
}

func (c *Clocks) file(instance string) string {
	return filepath.Join(c.dir, strings.ReplaceAll(instance, string(filepath.Separator), "_"))
}
