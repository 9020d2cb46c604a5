package control

import (
	"net/http"
	"slices"

	"github.com/holdfast-go/holdfast/failure"
)

// faultsAnswer is the answer of GET /v1/faults.
type faultsAnswer struct {
	Faults []Fault `json:"faults"`
}

func (h *handler) faults(w http.ResponseWriter, _ *http.Request) {
	h.answer(w, faultsAnswer{notNil(h.system.Faults())})
}

func (h *handler) inject(w http.ResponseWriter, r *http.Request) {
	var req FaultRequest
	err := decode(r.Body, &req)
	if err == nil {
		err = req.Validate()
	}
	var fault Fault
	if err == nil {
		fault, err = h.system.Inject(r.Context(), req)
	}
	if err != nil {
		failure.WriteProblem(w, err)
		return
	}
	h.answer(w, fault)
}

func (h *handler) renew(w http.ResponseWriter, r *http.Request) {
	var none struct{}
	err := decode(r.Body, &none)
	var fault Fault
	if err == nil {
		fault, err = h.system.Renew(r.Context(), r.PathValue("id"))
	}
	if err != nil {
		failure.WriteProblem(w, err)
		return
	}
	h.answer(w, fault)
}

func (h *handler) mend(w http.ResponseWriter, r *http.Request) {
	if err := h.system.Mend(r.Context(), r.PathValue("id")); err != nil {
		failure.WriteProblem(w, err)
		return
	}
	h.answer(w, struct{}{})
}

func (h *handler) wipe(w http.ResponseWriter, r *http.Request) {
	_, sel, err := h.target(r)
	if err == nil && sel.service != ControlService {
		err = failure.New(failure.InvalidArgument, "only control members can be wiped: %s or one of its members, not %s", ControlService, sel.service)
	}
	if err == nil {
		err = h.system.Wipe(r.Context(), slices.Clone(sel.instances))
	}
	if err != nil {
		failure.WriteProblem(w, err)
		return
	}
	h.answer(w, idsAnswer{sel.instances})
}

func (h *handler) stats(w http.ResponseWriter, _ *http.Request) {
	stats := h.system.Stats()
	if stats.Instances == nil {
		stats.Instances = map[string]InstanceStats{}
	}
	h.answer(w, stats)
}
