package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"time"

	"github.com/holdfast-go/holdfast/internal/linear"
	"github.com/holdfast-go/holdfast/replica/internal/core"
)

// machine is the store of the histories as a machine, which also checks what a machine is promised: commands are
// numbered without a gap, time never goes back, and every member gets the same.
type machine struct {
	n     *node
	store linear.Store
	count uint64
	time  time.Time
}

func (m *machine) Apply(e core.Entry) ([]byte, error) {
	if e.Index != m.count+1 {
		m.n.c.violate("machine", "%v: command %d comes after %d", m.n, e.Index, m.count)
	}
	if e.Time.Before(m.time) {
		m.n.c.violate("machine", "%v: command %d is of %v, the one before of %v", m.n, e.Index, e.Time, m.time)
	}
	m.count, m.time = e.Index, e.Time
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%d %q", e.Time.UnixNano(), e.Command)
	if before, ok := m.n.c.applied[e.Index]; ok && before != sum.Sum64() {
		m.n.c.violate("diverged", "%v: command %d is not what another member has applied", m.n, e.Index)
	}
	m.n.c.applied[e.Index] = sum.Sum64()
	return m.store.Apply(e.Command)
}

// position is the beginning of a machine's snapshot.
type position struct {
	Count uint64
	Time  time.Time
}

func (m *machine) Snapshot() (core.MachineSnapshot, error) {
	return &view{position: position{m.count, m.time}, store: m.store.Snapshot()}, nil
}

func (m *machine) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var p struct {
		position
		Store json.RawMessage
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("restore the machine from %d bytes: %w", len(b), err)
	}
	if len(p.Store) > 0 {
		if err := m.store.Restore(bytes.NewReader(p.Store)); err != nil {
			return err
		}
	}
	m.count, m.time = p.Count, p.Time
	return nil
}

type view struct {
	position
	store *linear.Store
}

func (v *view) Write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, `{"Count":%d,"Time":%q,"Store":`, v.Count, v.Time.Format(time.RFC3339Nano)); err != nil {
		return err
	}
	if err := v.store.Write(w); err != nil {
		return err
	}
	_, err := io.WriteString(w, "}")
	return err
}

func (v *view) Release() { v.store = nil }
