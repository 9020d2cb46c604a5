package rest

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// What is written is read as it was; what anybody else writes is read as something that could have been written.
func FuzzRequestHeaders(f *testing.F) {
	for _, s := range [][3]string{
		{"", "", ""},
		{"sheddable", "acme", "1"},
		{"critical_plus", "a.b_c-D9", "99"},
		{"CRITICAL", "a b", "-1"},
		{"9999999", "\x00", "100"},
		{"sheddable_plus ", "ä", "0x1"},
		{"critical", "x", "007"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, criticality, tenant, attempt string) {
		got := readRequest(http.Header{HeaderCriticality: {criticality}, HeaderTenant: {tenant}, HeaderAttempt: {attempt}})
		if got.Criticality < resilience.Sheddable || got.Criticality > resilience.CriticalPlus {
			t.Errorf("criticality %d of %q", got.Criticality, criticality)
		}
		if got.Tenant != "" && (got.Tenant != tenant || !resilience.ValidTenant(tenant)) {
			t.Errorf("tenant %q of %q", got.Tenant, tenant)
		}
		if got.Attempt < 0 || got.Attempt > resilience.MaxRepetitions {
			t.Errorf("attempt %d of %q", got.Attempt, attempt)
		}
		h := http.Header{HeaderCriticality: {criticality, criticality}, HeaderTenant: {tenant, tenant}, HeaderAttempt: {attempt, attempt}}
		if r := readRequest(h); r != (resilience.Request{}) {
			t.Errorf("what is there twice was read: %+v", r)
		}
		putRequest(h, got)
		if again := readRequest(h); again != got {
			t.Errorf("%+v was written as %v and read as %+v", got, h, again)
		}
	})
}

func FuzzTimeout(f *testing.F) {
	for _, s := range []string{"", "0", "1", "5000", "9999999999", "99999999999", "-1", "1.5", "1e3", " 1", "１"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := ParseTimeout(s)
		n, err := strconv.ParseUint(s, 10, 64)
		switch {
		case d < 0 || !ok && d != 0:
			t.Errorf("%q: %v %v", s, d, ok)
		case ok && (err != nil || d != time.Duration(n)*time.Millisecond):
			t.Errorf("%q: %v, a number is %v %v", s, d, n, err)
		case ok && d > 0 && formatTimeout(d) != strconv.FormatUint(n, 10):
			t.Errorf("%q: %v is written as %q", s, d, formatTimeout(d))
		}
	})
}

// Whatever an instance answers, it has one outcome, and a pushback that is no time in the past.
func FuzzAnswer(f *testing.F) {
	for _, s := range []struct {
		status                    int
		kind, retryAfter, problem string
	}{
		{503, failure.ProblemType, "1", `{"code":"RESOURCE_EXHAUSTED","reason":"SHED","domain":"holdfast","retry_after_ms":20}`},
		{503, failure.ProblemType, "-1", `{"code":"UNAVAILABLE","retry_after_ms":-9223372036854775808}`},
		{503, "text/html", "Fri, 31 Dec 1999 23:59:59 GMT", "<html>"},
		{429, failure.ProblemType, "99999999999999999999", `{"reason":"QUOTA","domain":"holdfast"}`},
		{502, failure.ProblemType + "; charset=\"", "", "[]"},
		{504, failure.ProblemType, "", `{"code":"OK"}`},
		{200, "text/event-streamX", "", ""},
		{101, "", "", ""},
		{999, "", "", ""},
	} {
		f.Add(s.status, s.kind, s.retryAfter, s.problem)
	}
	f.Fuzz(func(t *testing.T, status int, kind, retryAfter, problem string) {
		resp := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}, "Retry-After": {retryAfter}}}
		resp.Body = &peekedBody{data: []byte(problem)}
		IsStream(resp)
		worthReading(resp)
		o, e := judgeResponse(resp, resilience.Plan{}, time.Second)
		if (o == resilience.OK) != (status < 400) {
			t.Errorf("%d is %v", status, o)
		}
		if e != nil && (e.RetryAfter < 0 || !o.Verdict().RetrySafe || e.Code == failure.OK) {
			t.Errorf("%v: %+v", o, e)
		}
		if o == resilience.Unsent || o == resilience.AttemptTimeout || o == resilience.Local {
			t.Errorf("an answer is %v", o)
		}
	})
}
