package diskfile_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/diskfile"
)

func TestReplaceLeavesOneFileWithTheNewContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "file.json")
	for _, content := range []string{"old", "", "new"} {
		if err := diskfile.Replace(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if b, err := diskfile.Read(path, 3); err != nil || string(b) != content {
			t.Errorf("read %q, %v; want %q", b, err, content)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v; want one file", entries, err)
	}
	if _, err := diskfile.Read(path, 2); err == nil {
		t.Error("a file larger than the limit was read")
	}
	if _, err := diskfile.Read(filepath.Dir(path), 10); err == nil {
		t.Error("a directory was read")
	}
}

func TestReplaceThatFailsLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := diskfile.Replace(path, []byte("new")); err == nil {
		t.Error("a directory was replaced")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v; want the directory alone", entries, err)
	}
}

func TestSweepRemovesWhatIsOld(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file.json")
	for _, name := range []string{".file.json.1", ".file.json.2", ".other.json.3", "file.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if name != ".file.json.2" {
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	diskfile.Sweep(path)
	if _, err := os.Stat(filepath.Join(dir, ".file.json.1")); err == nil {
		t.Error("an old temporary file was left")
	}
	for _, name := range []string{".file.json.2", ".other.json.3", "file.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
