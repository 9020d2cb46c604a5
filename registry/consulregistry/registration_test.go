package consulregistry

import (
	"context"
	"net"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/internal/consul"
	"github.com/holdfast-go/holdfast/registry/driver"
)

// TestNotice: an instance that leaves stays marked for a moment, since a watch tells of states and not of each.
func TestNotice(t *testing.T) { synctest.Test(t, testNotice) }

func testNotice(t *testing.T) {
	for _, c := range []struct {
		marked, limit, want time.Duration
	}{
		{0, time.Second, noticeMark},
		{100 * time.Millisecond, time.Second, noticeMark - 100*time.Millisecond},
		{time.Minute, time.Second, 0},
		{0, 50 * time.Millisecond, 50 * time.Millisecond},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), c.limit)
		begun := time.Now()
		(&registration{marked: begun.Add(-c.marked)}).notice(ctx)
		if took := time.Since(begun); took != c.want {
			t.Errorf("marked %v ago: waits %v, want %v", c.marked, took, c.want)
		}
		cancel()
	}
	begun := time.Now()
	(&registration{}).notice(t.Context())
	if time.Since(begun) != 0 {
		t.Error("waits although nothing was marked")
	}
}

// TestAgentsAreLeftOnce: while no agent answers, what is to be looked after later does not grow with each renewal.
func TestAgentsAreLeftOnce(t *testing.T) {
	d, err := Open(Config{
		Agents: []string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"},
		Dial:   func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	r := &registration{d: d, name: "shop", ttl: time.Second, rec: driver.Record{Instance: driver.Instance{Service: "shop", ID: "one"}}}
	if err := d.client.Do(t.Context(), func(_ context.Context, a *consul.Agent) error {
		r.moveTo(a) // as Register does
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if r.Renew(t.Context()) == nil {
			t.Fatal("renewed without an agent")
		}
		if len(r.left) > 2 || slices.Contains(r.left, r.agent) {
			t.Fatalf("%d agents are left, the present one among them: %t", len(r.left), slices.Contains(r.left, r.agent))
		}
	}
	if len(r.left) != 2 {
		t.Errorf("%d agents are left", len(r.left))
	}
}
