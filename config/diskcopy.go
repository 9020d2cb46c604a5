package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/internal/diskfile"
)

const (
	diskVersion = 2
	// maxDiskCopy bounds what is read back; a file that is larger is not ours.
	maxDiskCopy = 64 << 20
	// diskRefresh is how old the date in the file may become.
	diskRefresh = time.Hour
)

// diskCopy keeps the last good settings below one prefix of one engine in a file, for a cold start while the engine is down.
// Processes may share the directory: a file is replaced as a whole, and the last writer is as right as any. Settings do
// not grow old, as addresses do.
type diskCopy struct {
	path, engine, prefix string
	log                  *slog.Logger

	mu      sync.Mutex
	written time.Time
	unsaved map[string][]byte // what could not be written
}

type diskFile struct {
	Version  int               `json:"version"`
	Engine   string            `json:"engine"`
	Prefix   string            `json:"prefix"`
	Saved    time.Time         `json:"saved"`
	Settings map[string][]byte `json:"settings"`
}

func newDiskCopy(dir, engine, prefix string, log *slog.Logger) *diskCopy {
	// Two prefixes, or engines, must not have one name: the hash tells "a/b" and "a-b" apart.
	h := fnv.New64a()
	_, _ = h.Write([]byte(prefix + "\x00" + engine))
	name := fmt.Sprintf("%.80s-%016x.json", strings.ReplaceAll(strings.Trim(prefix, "/"), "/", "-"), h.Sum64())
	return &diskCopy{path: filepath.Join(dir, name), engine: engine, prefix: prefix, log: log}
}

// identity names the engine that d is on.
func identity(d driver.Store) string {
	if i, ok := d.(driver.Identified); ok {
		return i.Identity()
	}
	return fmt.Sprintf("%T", d)
}

// load returns what the file holds. Whatever is wrong with it is logged, and then there is no copy.
func (c *diskCopy) load() map[string][]byte {
	diskfile.Sweep(c.path)
	b, err := diskfile.Read(c.path, maxDiskCopy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var values map[string][]byte
	if err == nil {
		values, err = decodeDiskCopy(b, c.engine, c.prefix)
	}
	if err != nil {
		c.log.Warn("disk copy of the settings ignored", "file", c.path, "error", err)
		return nil
	}
	return values
}

func decodeDiskCopy(b []byte, engine, prefix string) (map[string][]byte, error) {
	var f diskFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if f.Version != diskVersion {
		return nil, fmt.Errorf("decode: version %d, not %d", f.Version, diskVersion)
	}
	if f.Engine != engine {
		return nil, fmt.Errorf("decode: of another engine: %.200q", f.Engine)
	}
	if f.Prefix != prefix {
		return nil, fmt.Errorf("decode: of prefix %.40q", f.Prefix)
	}
	for key, value := range f.Settings {
		if err := ValidateKey(key); err != nil {
			return nil, fmt.Errorf("decode: %w", err)
		}
		if !strings.HasPrefix(key, prefix) || len(value) > driver.MaxValue {
			return nil, fmt.Errorf("decode: %s: not of this prefix, or too large", key)
		}
	}
	return f.Settings, nil
}

// stale reports whether the file should be written although nothing has changed.
func (c *diskCopy) stale(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Sub(c.written) > diskRefresh
}

// save writes the file; changes are rare, so each is written at once.
func (c *diskCopy) save(values map[string][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = time.Now() // also after a failure: a full disk is not tried again at every list
	b, err := json.Marshal(diskFile{Version: diskVersion, Engine: c.engine, Prefix: c.prefix, Saved: time.Now(), Settings: values})
	if err == nil {
		err = diskfile.Replace(c.path, b)
	}
	c.unsaved = nil
	if err != nil {
		c.unsaved = values
		c.log.Warn("disk copy of the settings not written", "file", c.path, "error", err)
	}
}

// flush tries again to write what could not be written.
func (c *diskCopy) flush() {
	c.mu.Lock()
	values := c.unsaved
	c.mu.Unlock()
	if values != nil {
		c.save(values)
	}
}
