package control

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// handler answers the API's requests for one system.
type handler struct {
	system  System
	streams chan struct{} // one slot for each stream that may be open
}

func newHandler(system System, anyHost bool) http.Handler {
	h := &handler{system: system, streams: make(chan struct{}, maxStreams)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.index)
	mux.HandleFunc("GET /v1/system", h.info)
	mux.HandleFunc("GET /v1/instances", h.instances)
	mux.HandleFunc("GET /v1/logs", h.logs)
	mux.HandleFunc("GET /v1/events", h.events)
	mux.HandleFunc("POST /v1/kill", h.each(System.Kill))
	mux.HandleFunc("POST /v1/freeze", h.each(System.Freeze))
	mux.HandleFunc("POST /v1/thaw", h.thaw)
	mux.HandleFunc("POST /v1/restart", h.restart)
	mux.HandleFunc("POST /v1/scale", h.scale)
	mux.HandleFunc("POST /v1/down", h.down)
	mux.HandleFunc("GET /v1/faults", h.faults)
	mux.HandleFunc("POST /v1/faults", h.inject)
	mux.HandleFunc("PUT /v1/faults/{id}", h.renew)
	mux.HandleFunc("DELETE /v1/faults/{id}", h.mend)
	mux.HandleFunc("POST /v1/wipe", h.wipe)
	mux.HandleFunc("GET /v1/stats", h.stats)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		failure.WriteProblem(w, failure.New(failure.NotFound, "nothing answers %s %.128s; GET / lists what there is", r.Method, r.URL.Path))
	})
	return boundBodies(guard(mux, anyHost))
}

const indexText = `This is the control API of a Holdfast system. The command line uses it: holdfast ps, logs, kill, ...

GET  /v1/system
GET  /v1/instances?service=NAME
GET  /v1/logs?service=NAME&follow=true&lines=100
GET  /v1/events
POST /v1/kill     {"target": "orders-1"}
POST /v1/freeze   {"target": "orders-1"}
POST /v1/thaw     {"target": "orders-1"}
POST /v1/restart  {"target": "orders"}
POST /v1/scale    {"service": "orders", "replicas": 3}
POST /v1/down     {}

GET    /v1/stats
GET    /v1/faults
POST   /v1/faults     {"kind": "freeze", "targets": ["orders-1"], "ttl": 5000000000}
PUT    /v1/faults/ID  {}
DELETE /v1/faults/ID
POST   /v1/wipe       {"target": "control-1"}
`

func (h *handler) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, indexText)
}

func (h *handler) info(w http.ResponseWriter, _ *http.Request) { answer(w, h.system.Info()) }

// instancesAnswer is the answer of /v1/instances, and of the commands, which list only the IDs.
type instancesAnswer struct {
	Instances []Instance `json:"instances"`
}

type idsAnswer struct {
	Instances []string `json:"instances"`
}

func (h *handler) instances(w http.ResponseWriter, r *http.Request) {
	instances := h.system.Instances()
	if target := r.URL.Query().Get("service"); target != "" {
		sel, err := resolve(h.system.Info(), instances, target)
		if err != nil && failure.CodeOf(err) != failure.FailedPrecondition { // none is an answer here
			failure.WriteProblem(w, err)
			return
		}
		instances = slices.DeleteFunc(instances, func(i Instance) bool { return !slices.Contains(sel.instances, i.ID) })
	}
	answer(w, instancesAnswer{notNil(instances)})
}

// each handles a command that is done to every selected instance by itself. A service of several instances has to be
// asked for with "all".
func (h *handler) each(do func(System, context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, sel, err := h.target(r)
		if err == nil {
			err = sel.one(req.Target, req.All)
		}
		if err != nil {
			failure.WriteProblem(w, err)
			return
		}
		ids, err := forEach(sel.instances, func(id string) error { return do(h.system, r.Context(), id) })
		if err != nil {
			failure.WriteProblem(w, err)
			return
		}
		answer(w, idsAnswer{ids})
	}
}

// thaw takes a service whole, and leaves alone what is not frozen.
func (h *handler) thaw(w http.ResponseWriter, r *http.Request) {
	_, sel, err := h.target(r)
	if err != nil {
		failure.WriteProblem(w, err)
		return
	}
	var frozen []string
	for _, i := range h.system.Instances() {
		if i.State == Frozen && slices.Contains(sel.instances, i.ID) {
			frozen = append(frozen, i.ID)
		}
	}
	ids, err := forEach(frozen, func(id string) error { return h.system.Thaw(r.Context(), id) })
	if err != nil {
		failure.WriteProblem(w, err)
		return
	}
	answer(w, idsAnswer{notNil(ids)})
}

// forEach returns the instances that do could be done to. One that is down or gone at this moment is only an error if
// there is no other: whoever kills all of a service means those that run.
func forEach(instances []string, do func(string) error) ([]string, error) {
	var hit []string
	var missed error
	for _, id := range instances {
		err := do(id)
		switch code := failure.CodeOf(err); {
		case err == nil:
			hit = append(hit, id)
		case code != failure.FailedPrecondition && code != failure.NotFound:
			return hit, err
		case missed == nil:
			missed = err
		}
	}
	if len(hit) > 0 {
		return hit, nil
	}
	return nil, missed
}

func (h *handler) restart(w http.ResponseWriter, r *http.Request) {
	_, sel, err := h.target(r)
	if err != nil {
		failure.WriteProblem(w, err)
		return
	}
	if err := h.system.Restart(r.Context(), sel.service, sel.instances); err != nil {
		failure.WriteProblem(w, err)
		return
	}
	answer(w, idsAnswer{sel.instances})
}

type scaleAnswer struct {
	Service  string `json:"service"`
	Replicas int    `json:"replicas"`
}

func (h *handler) scale(w http.ResponseWriter, r *http.Request) {
	req, err := parseScale(r.Body)
	if err == nil {
		err = checkService(h.system.Info(), h.system.Instances(), req.Service)
	}
	if err == nil && req.Service == ControlService {
		err = failure.New(failure.InvalidArgument, "the number of control members is set in the system file and does not change while it runs")
	}
	if err == nil && req.Auto {
		err = h.system.Autoscale(req.Service)
	} else if err == nil {
		err = h.system.Scale(r.Context(), req.Service, *req.Replicas)
	}
	if err != nil {
		failure.WriteProblem(w, err)
		return
	}
	done := scaleAnswer{Service: req.Service}
	for _, s := range h.system.Info().Services {
		if s.Name == req.Service {
			done.Replicas = s.Replicas
		}
	}
	if req.Replicas != nil {
		done.Replicas = *req.Replicas
	}
	answer(w, done)
}

func (h *handler) down(w http.ResponseWriter, r *http.Request) {
	var none struct{}
	if err := decode(r.Body, &none); err != nil {
		failure.WriteProblem(w, err)
		return
	}
	h.system.Down()
	answer(w, none)
}

// target reads a targetRequest and finds what it stands for.
func (h *handler) target(r *http.Request) (targetRequest, selection, error) {
	req, err := parseTarget(r.Body)
	if err != nil {
		return req, selection{}, err
	}
	sel, err := resolve(h.system.Info(), h.system.Instances(), req.Target)
	return req, sel, err
}

// boundBodies bounds every request's body in size and in time, also where nobody reads it: net/http does, before it
// answers.
func boundBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			rc := http.NewResponseController(w)
			_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every writer can (httptest)
			r.Body = &bodyReader{http.MaxBytesReader(w, r.Body, maxBody), rc}
		}
		next.ServeHTTP(w, r)
	})
}

// bodyReader takes the read deadline away at the end of the body: net/http goes on reading, to notice a client
// that hangs up, and a restart may take longer than a body.
type bodyReader struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // fails only if the client is gone
}

// notNil makes an empty list of a nil one, so that JSON has [] and not null.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
