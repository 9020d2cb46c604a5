package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/console"
	"github.com/holdfast-go/holdfast/platform/control"
)

// server answers for the page.
func (f *fake) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", console.Handler())
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /v1/session", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, control.Session{Right: control.Operate, Key: "k"})
	})
	mux.HandleFunc("GET /v1/system", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		answer(w, f.live().Info)
	})
	mux.HandleFunc("GET /v1/live", f.stream)
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range f.events {
			_ = json.NewEncoder(w).Encode(e)
		}
	})
	mux.HandleFunc("GET /v1/logs", f.logs)
	mux.HandleFunc("GET /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(f.slow):
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		list := []control.TraceSummary{}
		for _, t := range f.traces {
			q := r.URL.Query()
			if s := q.Get("status"); (s == "" || s == t.Status) && strings.Contains(t.Root+t.Error+t.ID, q.Get("text")) && (q.Get("service") == "" || slices.Contains(t.Services, q.Get("service"))) {
				list = append(list, t.TraceSummary)
			}
		}
		answer(w, map[string]any{"traces": list})
	})
	mux.HandleFunc("GET /v1/traces/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, t := range f.traces {
			if t.ID == r.PathValue("id") {
				answer(w, t)
				return
			}
		}
		failure.WriteProblem(w, failure.New(failure.NotFound, "no trace begins with %s", r.PathValue("id")))
	})
	mux.HandleFunc("GET /v1/explain/{id}", func(w http.ResponseWriter, r *http.Request) { answer(w, f.explain(r.PathValue("id"))) })
	mux.HandleFunc("GET /v1/policies", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"policies": f.policies()}) })
	mux.HandleFunc("GET /v1/queues/{topic}/{group}/dead", func(w http.ResponseWriter, r *http.Request) {
		var after, limit, next int
		_, _ = fmt.Sscan(r.URL.Query().Get("after"), &after)
		_, _ = fmt.Sscan(r.URL.Query().Get("limit"), &limit)
		f.mu.Lock()
		defer f.mu.Unlock()
		page := []control.DeadLetter{}
		for _, l := range f.letters {
			var at int
			_, _ = fmt.Sscan(l.Position, &at)
			if at > after && len(page) < limit {
				page, next = append(page, l), at
			}
		}
		body := map[string]any{"letters": page}
		if len(page) == limit {
			body["next"] = fmt.Sprint(next)
		}
		if limit < 1 || limit > control.MaxDead {
			failure.WriteProblem(w, failure.New(failure.InvalidArgument, "limit must be from 1 to %d", control.MaxDead))
			return
		}
		answer(w, body)
	})
	mux.HandleFunc("POST /v1/queues/{topic}/{group}/{what}", f.settle)
	mux.HandleFunc("POST /v1/{what}", f.act)
	mux.HandleFunc("DELETE /v1/faults/{id}", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.faults = nil
		f.wake()
		answer(w, struct{}{})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		down := f.down
		f.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	})
}

func (f *fake) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(f.pace)
	defer tick.Stop()
	f.mu.Lock()
	told := len(f.events)
	f.mu.Unlock()
	for {
		f.mu.Lock()
		var out strings.Builder
		for ; told < len(f.events); told++ {
			data, _ := json.Marshal(f.events[told])
			fmt.Fprintf(&out, "event: event\ndata: %s\n\n", data)
		}
		data, _ := json.Marshal(f.live())
		next := f.next
		f.mu.Unlock()
		fmt.Fprintf(&out, "event: live\ndata: %s\n\n", data)
		if _, err := w.Write([]byte(out.String())); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-next:
		case <-tick.C:
			f.mu.Lock()
			f.step()
			f.mu.Unlock()
		}
	}
}

func (f *fake) logs(w http.ResponseWriter, r *http.Request) {
	enc := json.NewEncoder(w)
	f.mu.Lock()
	for i := range 300 {
		in := f.all[3+i%(len(f.all)-3)]
		l := control.LogLine{Time: f.now.Add(time.Duration(i-300) * 170 * time.Millisecond), Service: in.Service, Instance: in.ID, Text: fmt.Sprintf(`level=INFO msg="order placed" order=%d took=%dms`, 7000+i, 3+i%9)}
		switch i % 17 {
		case 5:
			l.Text = `level=WARN msg="the payment is tried again" attempt=2 instance=payment-1 error="UNAVAILABLE: connection refused"`
			l.Trace = f.traces[0].ID
		case 11:
			l.Text = `level=ERROR msg="could not reserve" order=7719 error="<script>alert(1)</script> DEADLINE_EXCEEDED"`
		}
		_ = enc.Encode(l)
	}
	f.mu.Unlock()
	_ = http.NewResponseController(w).Flush()
	if r.URL.Query().Get("follow") == "true" {
		<-r.Context().Done()
	}
}

// held waits while nothing is done, and reports whether somebody still wants it.
func (f *fake) held(r *http.Request) bool {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold == nil {
		return true
	}
	select {
	case <-hold:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (f *fake) settle(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Positions []string `json:"positions"`
		All       bool     `json:"all"`
	}
	_ = json.NewDecoder(r.Body).Decode(&req)
	if !f.held(r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case len(req.Positions) > control.MaxPositions:
		failure.WriteProblem(w, failure.New(failure.InvalidArgument, "%d positions are too many at once", len(req.Positions)))
		return
	case slices.Contains(req.Positions, f.refused):
		failure.WriteProblem(w, failure.New(failure.Unavailable, "the broker does not answer"))
		return
	}
	f.changes = append(f.changes, fmt.Sprint(r.PathValue("what"), " ", req.Positions, req.All))
	n := len(f.letters)
	f.letters = slices.DeleteFunc(f.letters, func(l control.DeadLetter) bool { return req.All || slices.Contains(req.Positions, l.Position) })
	f.queues[0].Dead = int64(len(f.letters))
	f.wake()
	_ = json.NewEncoder(w).Encode(map[string]int{"count": n - len(f.letters)})
}

func (f *fake) act(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Target   string `json:"target"`
		Service  string `json:"service"`
		Replicas int    `json:"replicas"`
		Auto     bool   `json:"auto"`
	}
	_ = json.NewDecoder(r.Body).Decode(&req)
	if !f.held(r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Header.Get(control.KeyHeader) != "k" {
		failure.WriteProblem(w, failure.New(failure.PermissionDenied, "you may look, not change"))
		return
	}
	f.changes = append(f.changes, fmt.Sprint(r.PathValue("what"), " ", req.Target, req.Service))
	in := f.get(req.Target)
	switch what := r.PathValue("what"); {
	case what == "scale":
		i := slices.IndexFunc(f.services, func(s control.Service) bool { return s.Name == req.Service })
		if f.services[i].Replicas = req.Replicas; req.Auto {
			f.services[i].Replicas = f.services[i].Autoscale.Wish
		}
		f.wake()
	case in == nil:
		failure.WriteProblem(w, failure.New(failure.NotFound, "there is no %s", req.Target))
		return
	case what == "kill":
		f.turn(in, "backoff", "signal: killed")
	case what == "freeze":
		f.turn(in, "frozen", "")
	case what == "thaw":
		f.turn(in, "ready", "")
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"instances": []string{req.Target}})
}

func (f *fake) policies() []control.PolicyInForce {
	var all []control.PolicyInForce
	for i, s := range f.services {
		p := control.PolicyInForce{Service: s.Name, Values: []control.PolicyValue{
			{Key: "calls.timeout", Value: "2s", Source: control.SourceDefault},
			{Key: "calls.attempts", Value: "3", Source: control.SourceDefault},
			{Key: "calls.hedge.after", Value: "p95", Source: control.SourceCode, Otherwise: "never"},
			{Key: "serves.in-flight", Value: "64", Source: control.SourceFile, Otherwise: "adaptive"},
		}}
		if i == 1 {
			p.Revision = 12
			p.Values[0] = control.PolicyValue{Key: "calls.timeout", Value: "800ms", Source: control.SourceLive, Otherwise: "2s"}
			p.Values = append(p.Values, control.PolicyValue{Key: "calls.methods./shop.v1.Catalog/Search.timeout", Value: "250ms", Source: control.SourceLive})
		}
		all = append(all, p)
	}
	return all
}
