package failure_test

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/failure"
)

type fataler interface {
	Fatalf(format string, args ...any)
}

// readBack sends err as an HTTP answer and reads it.
func readBack(t fataler, err error) *failure.Error {
	rec := httptest.NewRecorder()
	failure.WriteProblem(rec, err)
	got := failure.ReadProblem(rec.Result())
	if got == nil {
		t.Fatalf("%v arrives as no problem", err)
	}
	return got
}

func TestProblemRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := errorGen().Draw(t, "error")
		got := readBack(t, e)
		if late := got.RetryAfter - e.RetryAfter; late < 0 || late >= time.Millisecond {
			t.Fatalf("retry after %v arrives as %v", e.RetryAfter, got.RetryAfter)
		}
		got.RetryAfter = e.RetryAfter
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("sent %+v\ngot  %+v", e, got)
		}
	})
}

func TestWriteProblem(t *testing.T) {
	var b strings.Builder
	for _, err := range []error{
		failure.New(failure.NotFound, "no product p-7"),
		failure.New(failure.InvalidArgument, "the order is wrong").WithViolation("items[0].quantity", "must be positive"),
		errOutOfStock.WithMetadata("product", "p-7"),
		failure.New(failure.Unavailable, "try later").WithRetryAfter(1001 * time.Millisecond),
		failure.New(failure.Canceled, ""),
		errors.New("secret"),
	} {
		rec := httptest.NewRecorder()
		rec.Header().Set("Content-Encoding", "gzip")
		rec.Header().Set("Etag", "x")
		failure.WriteProblem(rec, err)
		res := rec.Result()
		if got, want := res.Header.Get("Content-Length"), strconv.Itoa(rec.Body.Len()); got != want {
			t.Errorf("Content-Length is %s, want %s", got, want)
		}
		res.Header.Del("Content-Length")
		b.WriteString(strconv.Itoa(res.StatusCode) + "\n")
		if err := res.Header.Write(&b); err != nil {
			t.Fatal(err)
		}
		b.WriteString(rec.Body.String() + "\n\n")
	}
	golden(t, "problems.txt", strings.ReplaceAll(b.String(), "\r\n", "\n"))
}

func TestReadProblemOfOthers(t *testing.T) {
	date := "Tue, 29 Sep 2026 12:00:00 GMT"
	for name, test := range map[string]struct {
		status int
		header map[string]string
		body   string
		want   failure.Error // Cause is compared by its text
		cause  string
	}{
		"problem of somebody else": {
			403,
			map[string]string{"Content-Type": "application/problem+json; charset=utf-8"},
			`{"type":"https://example.com/probs/out-of-credit","title":"You do not have enough credit.",` +
				`"detail":"Your balance is 30.","instance":"/account/1","balance":30,"status":200}`,
			failure.Error{Code: failure.PermissionDenied, Message: "Your balance is 30."},
			"",
		},
		"members of the wrong type": {
			422,
			map[string]string{"Content-Type": "application/problem+json"},
			`{"title":"Wrong","status":"422","detail":7,"errors":{"name":["is missing"]},"metadata":{"a":1},"code":12,"retry_after_ms":"x"}`,
			failure.Error{Code: failure.InvalidArgument, Message: "Wrong"},
			"",
		},
		"negative wait": {
			503,
			map[string]string{"Content-Type": "application/problem+json"},
			`{"code":"UNAVAILABLE","retry_after_ms":-5}`,
			failure.Error{Code: failure.Unavailable},
			"",
		},
		"endless wait": {
			503,
			map[string]string{"Content-Type": "application/problem+json"},
			`{"code":"UNAVAILABLE","retry_after_ms":9223372036854775807}`,
			failure.Error{Code: failure.Unavailable, RetryAfter: math.MaxInt64},
			"",
		},
		"code over status": {
			409,
			map[string]string{"Content-Type": "application/problem+json"},
			`{"code":"ALREADY_EXISTS"}`,
			failure.Error{Code: failure.AlreadyExists},
			"",
		},
		"OK is no failure's code": {
			500,
			map[string]string{"Content-Type": "application/problem+json"},
			`{"code":"OK"}`,
			failure.Error{Code: failure.Unknown},
			"",
		},
		"a proxy's page": {
			502,
			map[string]string{"Content-Type": "text/html"},
			"<h1>Bad Gateway</h1>\n",
			failure.Error{Code: failure.Unavailable, Message: "HTTP 502 Bad Gateway"},
			"answer: <h1>Bad Gateway</h1>",
		},
		"not what it says": {
			500,
			map[string]string{"Content-Type": "application/problem+json"},
			`["x"]`,
			failure.Error{Code: failure.Internal, Message: "HTTP 500 Internal Server Error"},
			`answer: ["x"]`,
		},
		"nothing":          {404, nil, "", failure.Error{Code: failure.NotFound, Message: "HTTP 404 Not Found"}, ""},
		"status of nobody": {999, nil, "", failure.Error{Code: failure.Unknown, Message: "HTTP 999"}, ""},
		"redirect":         {302, nil, "", failure.Error{Code: failure.Unknown, Message: "HTTP 302 Found"}, ""},
		"retry after seconds": {
			429,
			map[string]string{"Retry-After": "3"},
			"",
			failure.Error{Code: failure.ResourceExhausted, Message: "HTTP 429 Too Many Requests", RetryAfter: 3 * time.Second},
			"",
		},
		"retry after a date of the server's clock": {
			503,
			map[string]string{"Retry-After": "Tue, 29 Sep 2026 12:00:07 GMT", "Date": date},
			"",
			failure.Error{Code: failure.Unavailable, Message: "HTTP 503 Service Unavailable", RetryAfter: 7 * time.Second},
			"",
		},
		"retry after a date long ago": {
			503,
			map[string]string{"Retry-After": "Tue, 29 Sep 2020 12:00:07 GMT"},
			"",
			failure.Error{Code: failure.Unavailable, Message: "HTTP 503 Service Unavailable"},
			"",
		},
		"retry after too many seconds": {
			503,
			map[string]string{"Retry-After": "9223372036854775807"},
			"",
			failure.Error{Code: failure.Unavailable, Message: "HTTP 503 Service Unavailable", RetryAfter: math.MaxInt64},
			"",
		},
		"retry after a time long past": { // whose milliseconds do not fit into 64 bits
			503,
			map[string]string{"Retry-After": "-9300000000000000"},
			"",
			failure.Error{Code: failure.Unavailable, Message: "HTTP 503 Service Unavailable"},
			"",
		},
		"retry after nonsense": {
			503,
			map[string]string{"Retry-After": "soon"},
			"",
			failure.Error{Code: failure.Unavailable, Message: "HTTP 503 Service Unavailable"},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp := &http.Response{StatusCode: test.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(test.body))}
			for k, v := range test.header {
				resp.Header.Set(k, v)
			}
			got := *failure.ReadProblem(resp)
			cause := ""
			if got.Cause != nil {
				cause = got.Cause.Error()
			}
			got.Cause = nil
			if !reflect.DeepEqual(got, test.want) || cause != test.cause {
				t.Errorf("got  %+v (%s)\nwant %+v (%s)", got, cause, test.want, test.cause)
			}
		})
	}
}

func TestReadProblemLeavesSuccessAlone(t *testing.T) {
	body := strings.NewReader("data")
	if e := failure.ReadProblem(&http.Response{StatusCode: http.StatusNoContent, Body: io.NopCloser(body)}); e != nil {
		t.Errorf("204 is read as %v", e)
	}
	if body.Len() != 4 {
		t.Errorf("%d of 4 bytes of the body are left", body.Len())
	}
}

func TestReadProblemIsBounded(t *testing.T) {
	endless := iotest.OneByteReader(zeros{})
	counted := &counter{r: endless}
	e := failure.ReadProblem(&http.Response{
		StatusCode: http.StatusInternalServerError, Body: io.NopCloser(counted), Header: http.Header{"Content-Type": {failure.ProblemType}},
	})
	if counted.n > 64<<10 {
		t.Errorf("read %d bytes", counted.n)
	}
	if n := len(e.Error()); n > 1<<10 {
		t.Errorf("error has %d bytes", n)
	}
}

func TestReadProblemOfABrokenAnswer(t *testing.T) {
	broken := errors.New("reset by peer")
	e := failure.ReadProblem(&http.Response{StatusCode: http.StatusServiceUnavailable, Body: io.NopCloser(iotest.ErrReader(broken))})
	if e.Code != failure.Unavailable || !errors.Is(e, broken) {
		t.Errorf("got %v", e)
	}
	if e := failure.ReadProblem(&http.Response{StatusCode: http.StatusServiceUnavailable}); e.Code != failure.Unavailable {
		t.Errorf("without a body: %v", e)
	}
}

func TestProblemWithAStatusThatIsNone(t *testing.T) {
	rec := httptest.NewRecorder()
	if err := (failure.Problem{Title: "by hand"}).Write(rec); err != nil {
		t.Fatal(err)
	}
	if rec.Code != http.StatusInternalServerError {
		t.Errorf("status is %d", rec.Code)
	}
	if p := failure.ProblemOf(nil); p.Status != 200 || p.Err().Code != failure.Unknown {
		t.Errorf("no problem is %+v", p)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func FuzzReadProblem(f *testing.F) {
	f.Add(404, "application/problem+json", "", `{"title":"x","status":404,"code":"NOT_FOUND","errors":[{"field":"a","description":"b"}]}`)
	f.Add(503, "application/problem+json; charset=utf-8", "7", `{"retry_after_ms":1e3,"metadata":{"a":null}}`)
	f.Add(503, "text/html", "Tue, 29 Sep 2026 12:00:00 GMT", "\xff<html>")
	f.Add(500, "application/problem+json", "-1", `null`)
	f.Add(400, ";", "", `{"errors":[null,{}]}`)
	f.Fuzz(func(t *testing.T, status int, contentType, retry, body string) {
		h := http.Header{"Content-Type": {contentType}, "Retry-After": {retry}}
		e := failure.ReadProblem(&http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))})
		if success := status >= 200 && status < 300; success != (e == nil) {
			t.Fatalf("status %d is read as %v", status, e)
		}
		if e == nil {
			return
		}
		if e.Code == failure.OK || e.Code > lastCode || e.RetryAfter < 0 {
			t.Fatalf("got %+v", e)
		}
		if _, err := json.Marshal(failure.ProblemOf(e)); err != nil {
			t.Fatal(err)
		}
		// Passed on by a gateway, it says the same.
		if got := readBack(t, e); got.Code != e.Code || got.Message != e.Message || got.Reason != e.Reason {
			t.Fatalf("sent %+v\ngot  %+v", e, got)
		}
	})
}
