//go:build unix

package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/embed"
)

// exchangeTimeout bounds how long the members that stay may take to exchange one that is wiped: etcd wants to see all of
// them connected for 5 s.
const exchangeTimeout = 30 * time.Second

// Wipe implements control.System.
func (h *Host) Wipe(ctx context.Context, ids []string) error {
	if err := h.up("wiping its control members"); err != nil {
		return err
	}
	wipe := h.wipeAll
	switch {
	case len(ids) == len(h.plane.members):
	case len(ids) == 1:
		wipe = func() error { return h.wipeOne(ids[0]) }
	default:
		return failure.New(failure.FailedPrecondition, "%d of %d control members cannot be wiped: without a majority the others take no new one", len(ids), len(h.plane.members))
	}
	tell := func(state, message string) {
		h.feed.publish(control.Event{Time: time.Now(), Service: control.ControlService, State: state, Fault: "wipe", Message: message})
	}
	what := strings.Join(ids, ", ")
	tell(control.EventFaultBegun, "broken on purpose: what "+what+" "+keep(ids)+" is deleted")
	err := h.sup.Replace(ctx, control.ControlService, ids, wipe)
	h.settle()
	if err != nil {
		tell(control.EventFaultEnded, "mended as far as it goes: "+what+": "+brief(err))
		return h.answer(err)
	}
	tell(control.EventFaultEnded, "mended: "+what+" began anew, without data")
	return nil
}

func keep(ids []string) string {
	if len(ids) == 1 {
		return "keeps"
	}
	return "keep"
}

// wipeAll deletes what all members have kept. None of them runs.
func (h *Host) wipeAll() error {
	for _, m := range h.plane.members {
		if err := os.RemoveAll(h.memberData(m.ID)); err != nil {
			return fmt.Errorf("wipe %s: %w", m.ID, err)
		}
	}
	return nil
}

// wipeOne lets the others exchange one member, which does not run, for an empty one. Its queue fills itself again.
func (h *Host) wipeOne(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), exchangeTimeout) // not that of whoever asks: a member is missing
	defer cancel()
	n := slices.Index(h.plane.ids, id)
	cfg := embed.EtcdConfig{
		Name: id, DataDir: h.memberData(id), ClientAddr: h.plane.clients[n], PeerAddr: h.plane.peers[id], Cluster: h.plane.peers, Insecure: h.net != nil,
	}
	return embed.Replace(ctx, cfg, slices.Delete(slices.Clone(h.plane.clients), n, n+1))
}

func (h *Host) memberData(id string) string { return filepath.Join(h.cfg.Data, "control", id) }
