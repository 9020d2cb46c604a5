package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/internal/diskfile"
)

const (
	diskVersion = 1
	// maxDiskCopy bounds what is read back; a file that is larger is not ours.
	maxDiskCopy = 8 << 20
	// maxDiskAge is when addresses are more likely somebody else's than the service's.
	maxDiskAge = 7 * 24 * time.Hour
	// diskEvery is the shortest time between two writes, diskRefresh how old the date in the file may become.
	diskEvery   = time.Second
	diskRefresh = time.Hour
	// diskFresh is how old a copy may be of a process that has only just ended.
	diskFresh = 2 * diskRefresh
)

// diskCopy keeps the last known instances of one service in a file, for a cold start while the engine is down.
// Processes may share the directory: a file is replaced as a whole, and the last writer is as right as any.
type diskCopy struct {
	dir, service string
	log          *slog.Logger

	mu      sync.Mutex
	pending []Instance
	dirty   bool
	written time.Time
	wake    chan struct{}
}

type diskFile struct {
	Version   int            `json:"version"`
	Service   string         `json:"service"`
	Saved     time.Time      `json:"saved"`
	Instances []diskInstance `json:"instances"`
}

type diskInstance struct {
	ID        string            `json:"id"`
	Endpoints map[string]string `json:"endpoints"`
	Zone      string            `json:"zone,omitempty"`
	Version   string            `json:"version,omitempty"`
	Weight    int               `json:"weight,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

func newDiskCopy(dir, service string, log *slog.Logger) *diskCopy {
	return &diskCopy{dir: dir, service: service, log: log, wake: make(chan struct{}, 1)}
}

func (c *diskCopy) path() string { return filepath.Join(c.dir, c.service+".json") }

// load returns what the file holds, and whether it was kept until just now. Whatever is wrong with it is logged, and then there is
// no copy.
func (c *diskCopy) load() (instances []Instance, fresh bool) {
	b, err := diskfile.Read(c.path(), maxDiskCopy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	now := time.Now()
	var f diskFile
	if err == nil {
		f, err = decodeDiskFile(b, c.service, now)
	}
	if err == nil {
		instances, err = f.usable()
	}
	if err != nil {
		c.log.Warn("disk copy of the registry ignored", "file", c.path(), "error", err)
		return nil, false
	}
	return instances, now.Sub(f.Saved) <= diskFresh
}

// decodeDiskCopy reads the instances in the content of a file.
func decodeDiskCopy(b []byte, service string, now time.Time) ([]Instance, error) {
	f, err := decodeDiskFile(b, service, now)
	if err != nil {
		return nil, err
	}
	return f.usable()
}

// decodeDiskFile reads the content of a file.
func decodeDiskFile(b []byte, service string, now time.Time) (f diskFile, err error) {
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("decode: %w", err)
	}
	if f.Version != diskVersion {
		return f, fmt.Errorf("decode: version %d, not %d", f.Version, diskVersion)
	}
	if f.Service != service {
		return f, fmt.Errorf("decode: of service %.40q", f.Service)
	}
	if age := now.Sub(f.Saved); age > maxDiskAge {
		return f, fmt.Errorf("saved %s: too old", f.Saved.Format(time.RFC3339))
	}
	if len(f.Instances) > 2*maxInstances {
		return f, fmt.Errorf("decode: %d instances", len(f.Instances))
	}
	return f, nil
}

// usable returns the instances in it.
func (f diskFile) usable() ([]Instance, error) {
	instances := make([]Instance, 0, len(f.Instances))
	for _, d := range f.Instances {
		inst := Instance{
			Service: f.Service, ID: d.ID, Endpoints: d.Endpoints, Zone: d.Zone, Version: d.Version,
			Weight: d.Weight, Metadata: d.Metadata,
		}
		if err := usable(inst); err != nil {
			return nil, fmt.Errorf("decode instance %.40q: %w", d.ID, err)
		}
		instances = append(instances, inst)
	}
	return instances, nil
}

func encodeDiskCopy(service string, instances []Instance, now time.Time) ([]byte, error) {
	f := diskFile{Version: diskVersion, Service: service, Saved: now.UTC(), Instances: []diskInstance{}}
	for _, inst := range instances {
		if inst.Draining || usable(inst) != nil {
			continue
		}
		f.Instances = append(f.Instances, diskInstance{
			ID: inst.ID, Endpoints: inst.Endpoints, Zone: inst.Zone, Version: inst.Version,
			Weight: inst.Weight, Metadata: inst.Metadata,
		})
	}
	b, err := json.MarshalIndent(f, "", " ")
	if err == nil && len(b) > maxDiskCopy {
		err = fmt.Errorf("%d bytes, more than %d", len(b), maxDiskCopy)
	}
	return b, err
}

// put has the instances written soon. Unless they changed, that is only done to keep the file's date young.
func (c *diskCopy) put(instances []Instance, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !changed && time.Since(c.written) < diskRefresh {
		return
	}
	c.pending, c.dirty = instances, true
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run writes what put left, at most once a second, and once more when ctx ends.
func (c *diskCopy) run(ctx context.Context) {
	diskfile.Sweep(c.path())
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-c.wake:
			c.flush()
			backoff.Pause(ctx, diskEvery)
		}
	}
	c.flush()
}

func (c *diskCopy) flush() {
	c.mu.Lock()
	instances, dirty := c.pending, c.dirty
	c.dirty = false
	c.written = time.Now() // also after a failure: a full disk is not tried again at every list
	c.mu.Unlock()
	if !dirty {
		return
	}
	b, err := encodeDiskCopy(c.service, instances, time.Now())
	if err == nil {
		err = diskfile.Replace(c.path(), b)
	}
	if err != nil {
		c.log.Warn("disk copy of the registry not written", "file", c.path(), "error", err)
	}
}

// usable reports why an instance from outside cannot be a candidate. It asks less than Validate, because other
// software may have registered it.
func usable(inst Instance) error {
	if inst.ID == "" || len(inst.ID) > 2*maxID {
		return errors.New("id: empty or too long")
	}
	if len(inst.Endpoints) == 0 || len(inst.Endpoints) > maxEndpoints {
		return fmt.Errorf("endpoints: %d", len(inst.Endpoints))
	}
	if slices.Contains(mapValues(inst.Endpoints), "") {
		return errors.New("endpoint: empty address")
	}
	return nil
}

func mapValues(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	return out
}
