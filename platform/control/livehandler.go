package control

import (
	"bytes"
	"net/http"
	"time"
)

const (
	sseType = "text/event-stream"
	// heartbeat is how long a stream of server-sent events is silent at most.
	heartbeat = 5 * time.Second
)

// live streams how the system is as server-sent events (WHATWG HTML, 9.2): "live", a Live, and "event", an Event. A follower who
// reads slowly gets the newest Live and may lose events, the oldest first.
func (h *handler) live(w http.ResponseWriter, r *http.Request) {
	if !take(h.lives, "server-sent events", w) {
		return
	}
	defer func() { <-h.lives }()
	ctx, cancel := letIn(r)
	defer cancel()
	w.Header().Set("Content-Type", sseType)
	rc := http.NewResponseController(w)
	if err := rc.Flush(); err != nil || r.Method == http.MethodHead {
		return
	}
	f := h.followed.join()
	defer h.followed.leave(f)
	silent := time.NewTicker(heartbeat)
	defer silent.Stop()
	frames := bytes.NewBufferString("retry: 1000\n\n") // for a browser: when to come again after the end
	for {
		if _, err := w.Write(frames.Bytes()); err != nil {
			return
		}
		if err := rc.Flush(); err != nil {
			return
		}
		frames.Reset()
		select {
		case <-ctx.Done():
			breakOff(ctx, r, nil)
			return
		case <-silent.C:
			frames.WriteString(":\n\n")
			continue
		case <-f.wake:
		}
		live, events, over := h.followed.take(f)
		for _, e := range events {
			frame(frames, "event", e)
		}
		if live != nil {
			frame(frames, "live", live)
		}
		if over {
			_, _ = w.Write(frames.Bytes()) // which is the last; there is nobody to tell that it failed
			return
		}
	}
}

// frame writes one event; JSON has no line breaks.
func frame(b *bytes.Buffer, event string, data []byte) {
	b.WriteString("event: ")
	b.WriteString(event)
	b.WriteString("\ndata: ")
	b.Write(data)
	b.WriteString("\n\n")
}

// snapshot puts together how the system is now.
func (h *handler) snapshot() Live {
	live := Live{At: time.Now(), Info: h.system.Info(), Faults: notNil(h.system.Faults())}
	stats := h.system.Stats()
	live.Edge.Stats = stats.Edge
	rates := map[string]InstanceRates{}
	if h.sight != nil {
		live.Graph = h.sight.Graph()
		rates = h.sight.Rates()
	}
	live.Graph.Nodes, live.Graph.Edges = notNil(live.Graph.Nodes), notNil(live.Graph.Edges)
	conditions := map[string]Condition{}
	if h.steering != nil {
		var missing [2]string
		conditions = h.steering.Conditions()
		live.Groups = h.steering.Groups()
		live.Locks, missing[0] = h.steering.Locks()
		live.Queues, missing[1] = h.steering.Queues()
		for _, m := range missing {
			if m != "" {
				live.Missing = append(live.Missing, m)
			}
		}
	}
	live.Groups, live.Locks, live.Queues = notNil(live.Groups), notNil(live.Locks), notNil(live.Queues)
	instances := h.system.Instances()
	live.Instances = make([]LiveInstance, 0, len(instances))
	for _, i := range instances {
		l := LiveInstance{Instance: i, Condition: conditions[i.ID]}
		if s, ok := stats.Instances[i.ID]; ok {
			l.Stats = &s
		}
		if r, ok := rates[i.ID]; ok {
			l.Rates = &r
		}
		live.Instances = append(live.Instances, l)
	}
	if r, ok := rates[EdgeEnd]; ok {
		live.Edge.Rates = &r
	}
	return live
}
