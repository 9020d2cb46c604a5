package trial

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func program(run func(r *Run)) Trial {
	return Trial{Name: "t", About: "what is done", Cases: []string{"one", "two"}, Run: func(_ context.Context, r *Run) error {
		run(r)
		return nil
	}}
}

func TestMediansAreJudged(t *testing.T) {
	for _, c := range []struct {
		promise Promise
		kept    bool
	}{
		{Promise{}, true},
		{AtMost(2), true},
		{AtMost(1.9), false},
		{AtMost(2).Always(), false},
		{AtLeast(2), true},
		{AtLeast(2).Always(), false},
		{Below(2), false},
		{Below(2.1), true},
	} {
		p := program(func(r *Run) { r.Add("figure", float64(r.Seed), Times, c.promise) })
		var out strings.Builder
		err := Execute(t.Context(), p, []string{"-seeds", "3,1,2"}, &out)
		if kept := err == nil; kept != c.kept || err != nil && !errors.Is(err, ErrBroken) {
			t.Errorf("%+v of 1, 2 and 3: %v\n%s", c.promise, err, out.String())
		}
		if c.kept == strings.Contains(out.String(), "BROKEN") {
			t.Errorf("%+v:\n%s", c.promise, out.String())
		}
	}
}

func TestAShortRunJudgesNothing(t *testing.T) {
	runs := 0
	p := program(func(r *Run) {
		runs++
		if r.Long(time.Hour, time.Second) != time.Second {
			t.Error("long")
		}
		r.Add("figure", 3, Count, AtMost(2))
	})
	var out strings.Builder
	if err := Execute(t.Context(), p, []string{"-short", "-only", "two"}, &out); err != nil || runs != 1 {
		t.Errorf("%d runs: %v", runs, err)
	}
	if strings.Contains(out.String(), "BROKEN") || !strings.Contains(out.String(), "≤ 2") {
		t.Error(out.String())
	}
}

func TestJSON(t *testing.T) {
	p := program(func(r *Run) { r.Add("figure", 0.5, Share, AtLeast(0.9)) })
	var out strings.Builder
	err := Execute(t.Context(), p, []string{"-json", "-only", "one", "-seeds", "1"}, &out)
	var lines []Line
	if errJSON := json.Unmarshal([]byte(out.String()), &lines); errJSON != nil {
		t.Fatal(errJSON, out.String())
	}
	if !errors.Is(err, ErrBroken) || len(lines) != 1 || lines[0].Measured != 0.5 || *lines[0].Kept || lines[0].Promised != "≥ 90 %" {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestWrongUse(t *testing.T) {
	p := program(func(*Run) { t.Error("ran") })
	for _, args := range [][]string{{"-seeds", "x"}, {"-only", "three"}, {"more"}, {"-nothing"}} {
		if err := Execute(t.Context(), p, args, &strings.Builder{}); err == nil || errors.Is(err, ErrBroken) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestAnErrorOrCtrlCEndsIt(t *testing.T) {
	boom := errors.New("boom")
	p := program(nil)
	p.Run = func(context.Context, *Run) error { return boom }
	if err := Execute(t.Context(), p, nil, &strings.Builder{}); !errors.Is(err, boom) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.Run = func(context.Context, *Run) error { cancel(); return nil }
	if err := Execute(ctx, p, nil, &strings.Builder{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
