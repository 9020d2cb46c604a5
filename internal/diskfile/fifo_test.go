//go:build unix

package diskfile_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/holdfast-go/holdfast/internal/diskfile"
)

// TestAFIFOIsNotWaitedFor: nobody may ever write to it.
func TestAFIFOIsNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := diskfile.Read(path, 10); err == nil {
		t.Errorf("read %q", b)
	}
}
