//go:build unix

package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/diskfile"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/embed"
	"github.com/holdfast-go/holdfast/platform/supervise"
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
		if errors.Is(err, supervise.ErrLeave) {
			h.fail(err)
		}
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

// wipeAll deletes what all members have kept. None of them runs, nor may one if it was begun and is not done: what they wrote from
// then on, and acknowledged, would be deleted by the next start.
func (h *Host) wipeAll() error {
	err := wipeAll(h.cfg.Data, h.plane.ids)
	if err == nil {
		return nil
	}
	if _, begun := os.Lstat(wipingFile(h.cfg.Data)); errors.Is(begun, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%w; the control members are %w, and the next start goes on with it", err, supervise.ErrLeave)
}

// wipingFile says, while it is there, that all that members have kept is to be deleted.
func wipingFile(data string) string { return filepath.Join(data, "control", "wiping") }

// wipeAll deletes what the members have kept in a data directory: of all of them or, since a file says so before the first is
// touched, of all of them at the next start. Members of which some had forgotten what they have acknowledged, and
// others had not, could lose it and never know.
func wipeAll(data string, ids []string) error {
	if err := diskfile.Replace(wipingFile(data), []byte("what control members keep is being deleted\n")); err != nil {
		return fmt.Errorf("wipe %s: %w", strings.Join(ids, ", "), err)
	}
	return endWipe(data, ids)
}

// endWipe does what is left of a wipe of all, if there is one. No member runs.
func endWipe(data string, ids []string) error {
	if _, err := os.Lstat(wipingFile(data)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if err := empty(filepath.Join(data, "control", id)); err != nil {
			errs = append(errs, fmt.Errorf("wipe %s: %w", id, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return os.Remove(wipingFile(data))
}

// empty deletes what is in a directory, if there is one. The directory stays: a disk may be mounted there.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
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
