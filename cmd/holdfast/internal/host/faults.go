//go:build unix

package host

import (
	"context"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

var errNoFaults = failure.New(failure.Unimplemented, "this version does not break anything yet")

// Inject implements control.System.
func (h *Host) Inject(context.Context, control.FaultRequest) (control.Fault, error) {
	return control.Fault{}, errNoFaults
}

// Renew implements control.System.
func (h *Host) Renew(context.Context, string) (control.Fault, error) {
	return control.Fault{}, errNoFaults
}

// Mend implements control.System.
func (h *Host) Mend(context.Context, string) error { return errNoFaults }

// Faults implements control.System.
func (h *Host) Faults() []control.Fault { return nil }

// Wipe implements control.System.
func (h *Host) Wipe(context.Context, []string) error { return errNoFaults }

// Stats implements control.System.
func (h *Host) Stats() control.Stats { return control.Stats{} }
