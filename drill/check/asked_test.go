package check_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/failure"
)

var checkout = load.Call{Name: "checkout", Path: "/orders", Header: map[string]string{"X-Customer": "{{.customer}}"}, Key: "{{uuid}}", Keep: map[string]string{"order": "id"}}

// sample is a checkout.
func sample(key string, o load.Outcome, order string) load.Sample {
	s := load.Sample{Call: "checkout", Due: time.Second, Outcome: o, Vars: map[string]string{"key": key, "customer": "c-" + key}}
	if order != "" {
		s.Kept = map[string]string{"order": order}
	}
	return s
}

func TestWhatWasAcknowledgedIsThere(t *testing.T) {
	t.Parallel()
	there := &check.Acknowledged{Call: "checkout", At: load.Call{Path: "/orders/{{.order}}"}}
	synctest.Test(t, func(t *testing.T) {
		late := time.Now().Add(5 * time.Second)
		shop := func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/orders/lost", r.URL.Path == "/orders/late" && time.Now().Before(late):
				w.WriteHeader(http.StatusNotFound)
			case r.URL.Path == "/orders/down":
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				_, _ = io.WriteString(w, "{}")
			}
		}
		for _, c := range []struct {
			orders []string
			want   check.Answer
			says   string
		}{
			{[]string{"a", "b", "late"}, check.Holds, "3 calls were acknowledged, 0 of them not there"},
			{[]string{"a", "lost", "down"}, check.Broken, "3 calls were acknowledged, 1 of them not there"},
			{[]string{"a", "down"}, check.Unknown, "1 could not be asked after: 503"},
			{nil, check.Unknown, "no call was acknowledged"},
		} {
			w := world(shop, checkout)
			w.Record.Add(sample("f", load.Failed, ""))
			w.Record.Add(sample("r", load.Refused, ""))
			for _, o := range c.orders {
				w.Record.Add(sample(o, load.OK, o))
			}
			v := judge(t, w, check.Invariant{Acknowledged: there}, 0)
			if v.Answer != c.want || !strings.Contains(v.Says, c.says) {
				t.Errorf("%v: %+v", c.orders, v)
			}
			if c.want == check.Broken && (len(v.Findings) != 1 || !strings.Contains(v.Findings[0], "order=lost") || v.At != time.Second) {
				t.Errorf("%+v", v)
			}
		}
		w := world(shop, checkout)
		for i := range 50 {
			s := sample(fmt.Sprint(i), load.OK, "lost")
			s.Due = time.Duration(50-i) * time.Second
			w.Record.Add(s)
		}
		if v := judge(t, w, check.Invariant{Acknowledged: there}, 0); len(v.Findings) != check.MaxFindings || v.More != 30 || v.At != time.Second {
			t.Errorf("%d findings and %d more, first at %v", len(v.Findings), v.More, v.At)
		}
	})
}

// Who clicks twice is told twice: what only the second click was told has to be there, too.
func TestWhatTheSecondClickWasToldIsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		shop := func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if r.URL.Path == "/orders/lost" {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = io.WriteString(w, "{}")
		}
		for _, c := range []struct {
			first  load.Sample
			second string
			want   check.Answer
			asked  int32
			says   string
		}{
			{sample("k", load.OK, "a"), "a", check.Holds, 1, "1 call was acknowledged, 0 of them not there"},
			{sample("k", load.Failed, ""), "a", check.Holds, 1, "1 call was acknowledged, 0 of them not there"},
			{sample("k", load.Failed, ""), "lost", check.Broken, 0, "1 call was acknowledged, 1 of them not there"},
			{sample("k", load.OK, "a"), "lost", check.Broken, 0, "2 calls were acknowledged, 1 of them not there"},
		} {
			w := world(shop, checkout)
			again := sample("k", load.OK, c.second)
			again.Again = true
			w.Record.Add(c.first)
			w.Record.Add(again)
			asked.Store(0)
			v := judge(t, w, check.Invariant{Acknowledged: &check.Acknowledged{Call: "checkout", At: load.Call{Path: "/orders/{{.order}}"}}}, 0)
			if v.Answer != c.want || v.Says != c.says || c.asked != 0 && asked.Load() != c.asked {
				t.Errorf("%s and then %q, asked %d times: %+v", c.first.Outcome, c.second, asked.Load(), v)
			}
		}
	})
}

func TestACallHappensOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		shop := func(w http.ResponseWriter, r *http.Request) {
			var n int
			switch who := r.URL.Query().Get("customer"); who {
			case "c-down":
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			case "c-late":
				if time.Since(begin) > 3*time.Second {
					n = 1
				}
			default:
				n = strings.Count(who, "x")
			}
			_, _ = fmt.Fprintf(w, `{"orders": [%s]}`, strings.TrimSuffix(strings.Repeat("1,", n), ","))
		}
		list := &load.Call{Path: "/orders?customer={{.customer}}", Keep: map[string]string{"count": "orders.#"}}
		for _, c := range []struct {
			samples []load.Sample
			want    check.Answer
			says    string
		}{
			{[]load.Sample{sample("x", load.OK, "1"), sample("late", load.OK, "2"), sample("r", load.Refused, ""), sample("f", load.Failed, ""), sample("ax", load.Failed, "")}, check.Holds, "5 calls"},
			{[]load.Sample{sample("x", load.OK, "1"), sample("x", load.OK, "1")}, check.Holds, "1 call, 1 of them made more than once"},
			{[]load.Sample{sample("x", load.OK, "1"), sample("x", load.OK, "2")}, check.Broken, "acknowledged twice, as map[order:1] and as map[order:2]"},
			{[]load.Sample{sample("xx", load.OK, "1")}, check.Broken, "order=1 customer=c-xx key=xx happened 2 times"},
			{[]load.Sample{sample("xx", load.Failed, "")}, check.Broken, "happened 2 times"},
			{[]load.Sample{sample("a", load.OK, "1")}, check.Broken, "acknowledged and did not happen"},
			{[]load.Sample{sample("x", load.Refused, "")}, check.Broken, "was refused"},
			{[]load.Sample{sample("down", load.OK, "1"), sample("x", load.OK, "1")}, check.Unknown, "1 could not be counted: 503"},
			{[]load.Sample{sample("down", load.OK, "1"), sample("xx", load.OK, "1")}, check.Broken, "happened 2 times"},
			{nil, check.Unknown, "no call was made"},
		} {
			w := world(shop, checkout)
			for _, s := range c.samples {
				w.Record.Add(s)
			}
			v := judge(t, w, check.Invariant{Once: &check.Once{Call: "checkout", List: list}}, 0)
			if v.Answer != c.want || !strings.Contains(v.Says+strings.Join(v.Findings, " "), c.says) {
				t.Errorf("%+v is not %s, %q", v, c.want, c.says)
			}
		}
	})
}

// Without a list what was acknowledged more than once is compared; where there is nothing to compare nothing is known.
func TestACallHappensOnceByItsAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			samples []load.Sample
			want    check.Answer
		}{
			{[]load.Sample{sample("x", load.OK, "1"), sample("x", load.OK, "1"), sample("y", load.OK, "2")}, check.Holds},
			{[]load.Sample{sample("x", load.OK, "1"), sample("x", load.OK, "2")}, check.Broken},
			{[]load.Sample{sample("x", load.OK, "1"), sample("y", load.OK, "2")}, check.Unknown},
			{[]load.Sample{sample("x", load.OK, "1"), sample("x", load.Failed, "")}, check.Unknown},
			{[]load.Sample{sample("x", load.Failed, ""), sample("x", load.Failed, "")}, check.Unknown},
		} {
			w := world(func(http.ResponseWriter, *http.Request) {}, checkout)
			for _, s := range c.samples {
				w.Record.Add(s)
			}
			if v := judge(t, w, check.Invariant{Once: &check.Once{Call: "checkout"}}, 0); v.Answer != c.want {
				t.Errorf("%+v: %+v, want %s", c.samples, v, c.want)
			}
		}
		bare := load.Call{Name: "checkout", Path: "/orders", Key: "{{uuid}}"}
		c, err := check.New(check.Invariant{Once: &check.Once{Call: "checkout"}})
		if err == nil {
			err = c.Prepare(t.Context(), world(func(http.ResponseWriter, *http.Request) {}, bare))
		}
		if err == nil || !strings.Contains(err.Error(), "it keeps nothing") {
			t.Errorf("a call that keeps nothing: %v", err)
		}
	})
}

// A call is made with a variable that another one is made of: its samples know both, and so can be asked after by either.
func TestAVariableThatAnotherIsMadeOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		call := load.Call{Name: "checkout", Weight: 1, Method: http.MethodPost, Path: "/baskets/{{.basket}}"}
		w := world(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "//") {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = io.WriteString(w, "{}")
		}, call)
		w.Mix.Vars["basket"] = "b-{{.customer}}"
		w.Mix.Steps = []load.Step{{For: time.Second, From: 10, To: 10}}
		l, err := load.New(t.Context(), w.Mix, w.Caller)
		if err != nil {
			t.Fatal(err)
		}
		l.Run(t.Context(), w.Record)
		v := judge(t, w, check.Invariant{Acknowledged: &check.Acknowledged{Call: "checkout", At: load.Call{Path: "/customers/{{.customer}}/orders"}}}, 0)
		if v.Answer != check.Holds {
			t.Errorf("%+v", v)
		}
	})
}

func TestAQuestionAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for status, want := range map[int]check.Answer{200: check.Holds, 409: check.Broken, 500: check.Unknown, 429: check.Unknown} {
			v := judge(t, world(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }),
				check.Invariant{HTTP: &check.HTTP{Call: load.Call{Path: "/ok", Expect: []string{"200"}}}}, 0)
			if v.Answer != want || !strings.Contains(v.Says, fmt.Sprint(status)) {
				t.Errorf("%d: %+v", status, v)
			}
		}
	})
}

func TestWhatIsWrongWithAnInvariantIsSaid(t *testing.T) {
	t.Parallel()
	w := world(func(http.ResponseWriter, *http.Request) {}, checkout)
	w.Mix.Vars["other"] = "{{uuid}}" // which no checkout is made with, so that none knows its own
	for want, i := range map[string]check.Invariant{
		"is one of register":                   {},
		"this is 2 of them":                    {HTTP: &check.HTTP{}, Func: &check.Func{}},
		"has no call chekout; it has checkout": {Acknowledged: &check.Acknowledged{Call: "chekout"}},
		"{{.nobody}} is not known":             {Acknowledged: &check.Acknowledged{Call: "checkout", At: load.Call{Path: "/{{.nobody}}"}}},
		"{{.other}} is not known":              {Acknowledged: &check.Acknowledged{Call: "checkout", At: load.Call{Path: "/{{.other}}"}}},
		"told apart by id":                     {Once: &check.Once{Call: "checkout", By: "id"}},
		"list does not keep count":             {Once: &check.Once{Call: "checkout", List: &load.Call{Path: "/"}}},
		"read does not keep value":             {Register: &check.Register{Write: load.Call{Path: "/"}, Read: load.Call{Path: "/"}}},
		"{{.value}} is not known here":         {Register: &check.Register{Write: load.Call{Path: "/"}, Read: load.Call{Path: "/{{.value}}", Keep: map[string]string{"value": "v"}}}},
		"at most 1000 keys":                    {Register: &check.Register{Keys: 5000}},
		"it runs nothing":                      {Command: &check.Command{Run: " "}},
		"it has no function":                   {Func: &check.Func{}},
		"nothing is known of instances":        {Leader: &check.Leader{Service: "orders"}},
		"begins with / or http://":             {HTTP: &check.HTTP{Call: load.Call{Path: "x"}}},
	} {
		c, err := check.New(i)
		if err == nil {
			err = c.Prepare(t.Context(), w)
		}
		if !errors.Is(err, failure.InvalidArgument) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, which does not say %q", err, want)
		}
	}
}

func TestAFunctionJudges(t *testing.T) {
	t.Parallel()
	w := world(func(http.ResponseWriter, *http.Request) {})
	for name, c := range map[string]struct {
		judge func(context.Context, *check.World) check.Verdict
		want  check.Answer
	}{
		"holds": {func(context.Context, *check.World) check.Verdict {
			return check.Verdict{Answer: check.Holds, Says: "fine"}
		}, check.Holds},
		"panics":  {func(context.Context, *check.World) check.Verdict { panic("no") }, check.Unknown},
		"nothing": {func(context.Context, *check.World) check.Verdict { return check.Verdict{} }, check.Unknown},
		"much": {func(context.Context, *check.World) check.Verdict {
			return check.Verdict{Answer: check.Broken, Says: "no", Findings: make([]string, 100)}
		}, check.Broken},
	} {
		v := judge(t, w, check.Invariant{Name: name, Func: &check.Func{Judge: c.judge}}, 0)
		if v.Name != name || v.Answer != c.want || len(v.Findings)+v.More != 0 && (len(v.Findings) != check.MaxFindings || v.More != 80) {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestACommandJudges(t *testing.T) {
	t.Parallel()
	for run, c := range map[string]struct {
		want check.Answer
		says string
	}{
		"echo all is well; echo more":      {check.Holds, "all is well"},
		"true":                             {check.Holds, "it says yes"},
		"echo one; echo; echo two; exit 1": {check.Broken, "one two"},
		"seq 30; exit 1":                   {check.Broken, "with 30 findings"},
		"exit 1":                           {check.Unknown, "exit status 1"},
		"echo sorry >&2; exit 2":           {check.Unknown, "exit status 2: sorry"},
		"no-such-program":                  {check.Unknown, "exit status 127"},
		// Why it gave up is what it said last; the rest was on the way.
		"{ seq 20000; echo it is gone; echo exit status 1; } >&2; exit 2":                                 {check.Unknown, "exit status 2: it is gone"},
		`printf 'panic: nobody home\n\ngoroutine 1 [running]:\nmain.main()\nexit status 2\n' >&2; exit 3`: {check.Unknown, "exit status 3: panic: nobody home"},
		"sleep 60": {check.Unknown, "longer than 1s"},
		`test "$GREETING" = hi && test "$(pwd -P)" = "$HERE"`:               {check.Holds, ""},
		`grep -q '"call":"checkout".*"order":"1"' "$HOLDFAST_DRILL_RECORD"`: {check.Holds, ""},
	} {
		t.Run(run, func(t *testing.T) {
			t.Parallel()
			w := world(func(http.ResponseWriter, *http.Request) {})
			w.Dir = t.TempDir()
			w.Env = []string{"GREETING=hi", "HERE=" + w.Dir}
			w.Record.Add(sample("x", load.OK, "1"))
			limit := 30 * time.Second
			if c.want == check.Unknown && strings.HasPrefix(run, "sleep") {
				limit = time.Second
			}
			v := judge(t, w, check.Invariant{Command: &check.Command{Run: run, Timeout: limit}}, 0)
			if v.Answer != c.want || !strings.Contains(v.Says+" "+strings.Join(v.Findings, " "), c.says) {
				t.Errorf("%+v", v)
			}
		})
	}
}
