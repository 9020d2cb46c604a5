package replica

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/replica/internal/core"
)

// What a GroupConfig may say, a member can be made with: a mistake in it is found when the group is made, not when it runs.
func TestGroupConfigs(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  GroupConfig
		want string // "": it is fine
	}{
		{"zero", GroupConfig{}, ""},
		{"all that fits", GroupConfig{MaxCommand: maxCommand, MaxPending: maxPending, MaxPendingBytes: maxPendingBytes, KeyRetention: minRetention}, ""},
		{"the least", GroupConfig{MaxCommand: 1, MaxPending: 1, MaxPendingBytes: 1, Keys: 1, KeyRetention: time.Second, SnapshotEntries: 1, SnapshotBytes: 1}, ""},
		{"pending", GroupConfig{MaxPending: 100_000}, "MaxPending 100000"},
		{"bytes below a command by default", GroupConfig{MaxPendingBytes: 1000}, "MaxPendingBytes 1000: less than MaxCommand"},
		{"bytes", GroupConfig{MaxPendingBytes: 1 << 40}, "MaxPendingBytes"},
		{"command", GroupConfig{MaxCommand: 1 << 30}, "MaxCommand"},
		{"retention", GroupConfig{KeyRetention: time.Millisecond}, "KeyRetention 1ms"},
		{"negative", GroupConfig{Keys: -1}, "Keys -1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.cfg.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if d := c.cfg.defaults(); err == nil {
				config := core.Config{
					ID: 1, MaxCommand: d.MaxCommand, MaxPending: d.MaxPending, MaxPendingBytes: int(d.MaxPendingBytes), KeyRetention: d.KeyRetention,
					MaxKeys: d.Keys, SnapshotEntries: d.SnapshotEntries, SnapshotBytes: int(d.SnapshotBytes),
				}
				if _, err := core.New(config, core.NewApplier(1, nil), core.Restored{}, time.Now()); err != nil && !strings.Contains(err.Error(), "snapshot") {
					t.Errorf("core: %v", err)
				}
			}
		})
	}
}
