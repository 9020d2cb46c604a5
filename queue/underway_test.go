package queue

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue/driver"
)

var errUnderWay = failure.New(failure.Aborted, "at somebody else's").WithReason(ReasonUnderWay, failure.Domain)

// TestJudgeUnderWay: what an inbox says is recognized however it is wrapped, and not taken from somebody else's words.
func TestJudgeUnderWay(t *testing.T) {
	for _, c := range []struct {
		err  error
		want verdict
	}{
		{errUnderWay, verdict{blame: waiting}},
		{fmt.Errorf("inbox: %w", errUnderWay.WithCause(errors.New("busy")).WithRetryAfter(2*time.Second)), verdict{blame: waiting, after: 2 * time.Second}},
		{RetryAfter(errUnderWay, 3*time.Second), verdict{blame: waiting, after: 3 * time.Second}},
		{failure.New(failure.Aborted, "x").WithReason(ReasonUnderWay, "shop"), verdict{blame: elsewhere}},
		{failure.New(failure.Aborted, "x"), verdict{blame: elsewhere}},
	} {
		if got := judge(c.err, false); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.err, got, c.want)
		}
	}
}

// TestUnderWay: what is being handled elsewhere comes back in about a second, as often as it takes, without a trace. During an
// outage it does not make probes any more frequent.
func TestUnderWay(t *testing.T) {
	s := newTestScheduler(1, nil, driver.Capabilities{Counts: true, Delay: true})
	now := time.Unix(0, 0)
	s.add(delivery("", 0, defaultAttempts+1), now) // it has come often
	end := func(v verdict, err error) decision {
		t.Helper()
		tk, wait := s.next(now)
		for tk == nil && wait > 0 {
			now = now.Add(wait)
			tk, wait = s.next(now)
		}
		if tk == nil {
			t.Fatal("nothing begins")
		}
		return s.end(tk, v, err, now)
	}
	for range 100 {
		if d := end(judge(errUnderWay, false), errUnderWay); d.do != retry || d.began || d.pause < underWayAfter/2 || d.pause > underWayAfter*3/2 {
			t.Fatalf("%+v", d)
		}
	}
	for tk := range s.tasks {
		if tk.tries+tk.counted != 0 || tk.first != nil || tk.last != nil {
			t.Errorf("it is kept against it: %+v", tk)
		}
	}
	for i := range stallAfter {
		s.health.failed(messageID{"other", fmt.Sprint(i)}, now, s.rnd)
	}
	began, attempts := now, 0
	for now.Sub(began) < 10*time.Second {
		end(judge(errUnderWay, false), errUnderWay)
		attempts++
	}
	if attempts > 100 {
		t.Errorf("%d probes in 10 s of an outage", attempts)
	}
	if d := end(verdict{}, nil); d.do != settle || !d.ended {
		t.Errorf("%+v", d)
	}
}
