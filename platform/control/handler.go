package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

// handler answers the API's requests for one system.
type handler struct {
	system   System
	sight    Sight    // nil: none
	steering Steering // nil: none
	console  http.Handler
	server   *Server
	logger   *slog.Logger
	followed *hub
	streams  chan struct{} // one slot for each stream of logs and events that may be open
	lives    chan struct{} // and for each of /v1/live: whoever opens many tabs does not take the logs from others
}

// newHandler makes what s serves; open says that its address is on loopback.
func newHandler(system System, cfg Config, s *Server, open bool) http.Handler {
	h := &handler{
		system: system, sight: cfg.Sight, steering: cfg.Steering, console: cfg.Console, server: s,
		logger: cmp.Or(cfg.Logger, slog.Default()), streams: make(chan struct{}, maxStreams), lives: make(chan struct{}, maxStreams),
	}
	h.followed = newHub(h.snapshot, system.Events, h.logger)
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
	mux.HandleFunc("GET /v1/prometheus/targets", h.prometheus)
	h.sightRoutes(mux)
	h.steeringRoutes(mux)
	h.loginRoutes(mux)
	if h.console != nil {
		mux.Handle("GET /console/", h.console)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		failure.WriteProblem(w, failure.New(failure.NotFound, "nothing answers %s %.128s; GET / lists what there is", r.Method, r.URL.Path))
	})
	return bound(&guard{keys: s.keys, open: open, next: mux})
}

const indexText = `This is the control API of a Holdfast system. The command line uses it: holdfast ps, logs, kill, ...
What changes something takes a token: curl -H "Authorization: Bearer $(holdfast token)" ...

GET  /v1/system
GET  /v1/instances?service=NAME
GET  /v1/logs?service=NAME&follow=true&lines=100&q=TEXT&trace=ID
GET  /v1/events?last=100&follow=true
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

GET /v1/traces?service=NAME&status=error&text=WORD&min=250ms&since=TIME&limit=50
GET /v1/traces/ID
GET /v1/explain/ID?lang=en
GET /v1/graph
GET /v1/rates
GET /v1/series?name=INSTRUMENT&service=NAME&instance=ID&last=5m

GET  /v1/live                   server-sent events: live, event
GET  /v1/snapshot
GET  /v1/groups
GET  /v1/locks
GET  /v1/policies?service=NAME
GET  /v1/queues
GET  /v1/queues/TOPIC/GROUP/dead?after=POSITION&limit=50
POST /v1/queues/TOPIC/GROUP/replay   {"positions": ["17"]} or {"all": true}
POST /v1/queues/TOPIC/GROUP/discard  {"positions": ["17"]} or {"all": true}

POST /v1/tokens       {"right": "view"}
POST /v1/invitations  {"right": "operate"}
POST   /v1/session      {"code": "..."}
GET    /v1/session
DELETE /v1/session

GET /v1/prometheus/targets
`

// index is the console for a browser, and a list of what there is for anybody else.
func (h *handler) index(w http.ResponseWriter, r *http.Request) {
	if h.console != nil && strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.console.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, indexText)
}

func (h *handler) info(w http.ResponseWriter, _ *http.Request) { h.answer(w, h.system.Info()) }

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
	h.answer(w, instancesAnswer{notNil(instances)})
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
		h.answer(w, idsAnswer{ids})
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
	h.answer(w, idsAnswer{notNil(ids)})
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
	ctx := r.Context()
	if r.Header.Get(KeyHeader) != "" {
		ctx = context.WithoutCancel(ctx) // a tab that is closed is no wish to stop half way, as Ctrl-C is
	}
	if err := h.system.Restart(ctx, sel.service, sel.instances); err != nil {
		failure.WriteProblem(w, err)
		return
	}
	h.answer(w, idsAnswer{sel.instances})
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
	h.answer(w, done)
}

func (h *handler) down(w http.ResponseWriter, r *http.Request) {
	var none struct{}
	if err := decode(r.Body, &none); err != nil {
		failure.WriteProblem(w, err)
		return
	}
	h.system.Down()
	h.answer(w, none)
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

// answer writes v. It is JSON before the status goes out, so that there is no empty success.
func (h *handler) answer(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil { // a number that is none, for one
		h.logger.Error("control API: an answer cannot be written as JSON", "type", fmt.Sprintf("%T", v), "error", err)
		failure.WriteProblem(w, failure.New(failure.Internal, "the answer cannot be written as JSON; the log of the system says why"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n')) // fails only if the client is gone
}

// notNil makes an empty list of a nil one, so that JSON has [] and not null.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
