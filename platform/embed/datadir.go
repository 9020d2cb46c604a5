package embed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// identity says whose a data directory is. etcd's own data do not have the member's name, and etcd finds out only in
// talking to others that it is in the wrong cluster, which it then tries for ever.
type identity struct {
	Name    string            `json:"name"`
	Cluster map[string]string `json:"cluster"`
	// Joined is set once the member was ready: from then on its data must not be lost.
	Joined bool `json:"joined"`
	// Joins is set by Replace, until then: the cluster is there already, and knows of this member.
	Joins bool `json:"joins,omitempty"`
	// Replacing is set by Replace, until it is done: the client addresses of those that stay. The cluster may not know this
	// member any more.
	Replacing []string `json:"replacing,omitempty"`
}

// dataDir is the directory of one member.
type dataDir struct {
	path string
	id   identity
}

// openDir makes or checks the directory of a member.
func openDir(cfg EtcdConfig) (*dataDir, error) {
	d := &dataDir{path: cfg.DataDir, id: identity{Name: cfg.Name, Cluster: cfg.Cluster}}
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := os.Chmod(d.path, 0o700); err != nil { // it was there before
		return nil, fmt.Errorf("data directory: %w", err)
	}
	b, err := os.ReadFile(d.file())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !isNotExist(d.etcd()) {
			return nil, fmt.Errorf("data directory %s holds an etcd member of somebody else's", d.path)
		}
		return d, d.write()
	case err != nil:
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := d.check(b); err != nil {
		return nil, fmt.Errorf("data directory %s %w", d.path, err)
	}
	return d, nil
}

func (d *dataDir) file() string { return filepath.Join(d.path, "holdfast.json") }
func (d *dataDir) etcd() string { return filepath.Join(d.path, "member") }

// check compares who was here with who is.
func (d *dataDir) check(b []byte) error {
	var was identity
	if err := json.Unmarshal(b, &was); err != nil {
		return fmt.Errorf("is corrupt: %s: %w", filepath.Base(d.file()), err)
	}
	d.id.Replacing = was.Replacing
	switch {
	case was.Name != d.id.Name:
		return fmt.Errorf("belongs to member %q", was.Name)
	case !maps.Equal(was.Cluster, d.id.Cluster):
		return fmt.Errorf("belongs to another cluster: %v, not %v", was.Cluster, d.id.Cluster)
	case len(was.Replacing) > 0: // what is here is deleted, whatever it is
		return nil
	case was.Joined && isNotExist(filepath.Join(d.etcd(), "wal")):
		// It may have voted and acknowledged what it does not know any more.
		return errors.New("has lost its data: the member cannot come back as the one it was")
	}
	d.id.Joined, d.id.Joins = was.Joined, was.Joins
	return checkDB(filepath.Join(d.etcd(), "snap", "db"))
}

// checkDB opens the database for a moment. etcd would do it in a goroutine of its own, where its panic ends the process,
// and would wait for ever if it is in use. One that is empty is that of a process that was killed between making the file and
// writing to it: etcd begins it again.
func checkDB(path string) error {
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return errors.New("is in use by another process")
	case err != nil:
		return fmt.Errorf("is corrupt: %w", err)
	}
	return db.Close()
}

// joined notes that the member was ready.
func (d *dataDir) joined() error {
	if d.id.Joined {
		return nil
	}
	d.id.Joined, d.id.Joins = true, false
	return d.write()
}

// empty deletes everything but the identity.
func (d *dataDir) empty() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	for _, e := range entries {
		if path := filepath.Join(d.path, e.Name()); path != d.file() {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("data directory: %w", err)
			}
		}
	}
	return nil
}

func (d *dataDir) write() error {
	b, err := json.Marshal(d.id)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	tmp, err := os.CreateTemp(d.path, "holdfast.*.tmp")
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already if all went well
	_, err = tmp.Write(append(b, '\n'))
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := os.Rename(tmp.Name(), d.file()); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}
