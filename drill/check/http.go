package check

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
)

// HTTP makes a call when the load is over, and checks that it is answered as it expects. No answer, or one that says that
// there is none at the moment (5xx, 429), is unknown.
type HTTP struct {
	Call   load.Call
	Within time.Duration // how long it is asked again; 0 is 10 s
}

type http struct {
	named
	passive
	cfg HTTP
	ask *load.Prepared
}

func (h *http) Prepare(ctx context.Context, w *World) (err error) {
	h.ask, err = w.Caller.Prepare(ctx, nil, h.cfg.Call)
	return err
}

func (h *http) Judge(ctx context.Context, w *World) Verdict {
	v := Verdict{Name: h.Name(), Answer: Holds}
	s := ask(ctx, h.ask, draw(w, 0x68747470, 0), nil, orDefault(h.cfg.Within, defaultWithin), good)
	v.Says = "answered with " + said(s)
	switch {
	case s.Outcome == load.OK:
	case answered(s):
		v.Answer = Broken
		v.Findings = []string{fmt.Sprintf("answered with %s", said(s))}
	default:
		v.Answer, v.Says = Unknown, "not answered: "+said(s)
	}
	return v
}
