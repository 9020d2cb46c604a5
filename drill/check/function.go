package check

import (
	"context"
	"fmt"
)

// Func is a check in Go.
type Func struct {
	Judge func(ctx context.Context, w *World) Verdict
}

type function struct {
	named
	passive
	cfg Func
}

func (f *function) Prepare(context.Context, *World) error {
	if f.cfg.Judge == nil {
		return invalid("it has no function")
	}
	return nil
}

// Judge calls the function. One that panics is unknown: the rest of the drill is worth as much as before.
func (f *function) Judge(ctx context.Context, w *World) (v Verdict) {
	defer func() {
		if p := recover(); p != nil {
			v = Verdict{Answer: Unknown, Says: line(fmt.Sprintf("it panicked: %v", p), maxFinding)}
		}
		if v.Name == "" {
			v.Name = f.Name()
		}
		if v.Answer == "" {
			v.Answer, v.Says = Unknown, orText(v.Says, "it gave no answer")
		}
		if over := len(v.Findings) - MaxFindings; over > 0 {
			v.Findings, v.More = v.Findings[:MaxFindings], v.More+over
		}
	}()
	return f.cfg.Judge(ctx, w)
}
