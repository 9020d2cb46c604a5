package fileconfig

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/internal/diskfile"
)

// TestAFileSystemThatHangsIsAnError: of the listing that it hangs under and of those after it, which leave nobody waiting.
func TestAFileSystemThatHangsIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		d, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		thaw := make(chan struct{})
		var reads atomic.Int32
		d.read = func(path string, limit int64) ([]byte, error) {
			reads.Add(1)
			<-thaw
			return diskfile.Read(path, limit)
		}
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if l, err := d.List(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("list = %+v, %v", l, err)
			}
			cancel()
		}
		if n := reads.Load(); n != 1 {
			t.Errorf("%d wait for the file system", n)
		}
		close(thaw)
		if l, err := d.List(t.Context(), ""); err != nil || len(l.Entries) != 1 {
			t.Errorf("afterwards: %+v, %v", l, err)
		}
	})
}
