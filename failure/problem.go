package failure

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ProblemType is the media type of a Problem.
const ProblemType = "application/problem+json"

// maxProblem bounds what ReadProblem reads; maxExcerpt what it keeps of an answer that is no problem.
const (
	maxProblem = 64 << 10
	maxExcerpt = 512
)

// Problem is an Error as an RFC 9457 document. The first five members are the RFC's, the others carry what it has no
// place for. A receiver that knows only the RFC finds everything people need in title and detail.
type Problem struct {
	Type     string `json:"type"`               // about:blank: the status says what kind it is
	Title    string `json:"title"`              // the status in words
	Status   int    `json:"status"`             // the HTTP status
	Detail   string `json:"detail,omitempty"`   // Error.Message
	Instance string `json:"instance,omitempty"` // which request; the writer may fill it in

	Code         string            `json:"code,omitempty"` // Code.String
	Reason       string            `json:"reason,omitempty"`
	Domain       string            `json:"domain,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Errors       []Violation       `json:"errors,omitempty"`
	RetryAfterMS int64             `json:"retry_after_ms,omitempty"` // rounded up
}

// ProblemOf is what an HTTP server should answer for err, without its causes. For nil it is a Problem with status 200,
// which nobody should send.
func ProblemOf(err error) Problem {
	if err == nil {
		return Problem{Type: "about:blank", Title: http.StatusText(http.StatusOK), Status: http.StatusOK, Code: OK.String()}
	}
	e := From(err)
	p := Problem{
		Type:     "about:blank",
		Status:   HTTPStatus(e.Code),
		Detail:   valid(e.Message),
		Code:     e.Code.String(),
		Reason:   e.Reason,
		Domain:   e.Domain,
		Metadata: maps.Clone(e.Metadata),
		Errors:   slices.Clone(e.Violations),
	}
	p.Title = statusText(p.Status)
	if e.RetryAfter > 0 {
		p.RetryAfterMS = int64((e.RetryAfter-1)/time.Millisecond) + 1
	}
	return p
}

// Err is the Error that p describes: by its code member, or by its status when it has none that is known. A Problem with
// a 2xx status and no code is an Unknown failure all the same: somebody called it a problem.
func (p Problem) Err() *Error {
	code, ok := ParseCode(p.Code)
	e := &Error{
		Message:    p.Detail,
		Reason:     p.Reason,
		Domain:     p.Domain,
		Metadata:   maps.Clone(p.Metadata),
		Violations: slices.Clone(p.Errors),
		RetryAfter: milliseconds(p.RetryAfterMS),
	}
	if !ok {
		code = FromHTTPStatus(p.Status)
		if e.Message == "" {
			e.Message = p.Title
		}
	}
	e.Code = code.failed()
	return e
}

// Write answers a request with p: status, problem+json body, and Retry-After in whole seconds, rounded up, if p asks for
// it. Like http.Error it removes headers that described the answer that was to be. The error is that of writing.
func (p Problem) Write(w http.ResponseWriter) error {
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("problem encode: %w", err)
	}
	body = append(body, '\n') // for those who read it in a terminal
	h := w.Header()
	for _, key := range []string{"Content-Encoding", "Etag", "Last-Modified"} {
		h.Del(key)
	}
	h.Set("Content-Type", ProblemType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.RetryAfterMS > 0 {
		h.Set("Retry-After", strconv.FormatInt((p.RetryAfterMS-1)/1000+1, 10))
	}
	status := p.Status
	if status < 200 || status > 599 { // net/http panics on numbers that are none
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return fmt.Errorf("problem write: %w", err)
	}
	return nil
}

// WriteProblem answers a request with err. It must not be called for a nil error nor after the header was written.
// That the answer could not be written is not reported: there is nobody left to tell.
func WriteProblem(w http.ResponseWriter, err error) {
	_ = ProblemOf(err).Write(w)
}

// ReadProblem is the Error of an HTTP answer, or nil for a 2xx, whose body it leaves alone. It understands problem+json
// from anybody, and makes an Error from the status of any other answer, whose text it keeps an excerpt of as the Cause.
// It reads at most 64 KiB of the body and does not close it.
func ReadProblem(resp *http.Response) *Error {
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	var body []byte
	var readErr error
	if resp.Body != nil {
		body, readErr = io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	}
	e, ok := parseProblem(resp, body)
	if !ok {
		e = &Error{
			Code:    FromHTTPStatus(resp.StatusCode),
			Message: strings.TrimSpace("HTTP " + strconv.Itoa(resp.StatusCode) + " " + statusText(resp.StatusCode)),
		}
		switch {
		case readErr != nil:
			e.Cause = fmt.Errorf("answer read: %w", readErr)
		case len(body) > 0:
			e.Cause = fmt.Errorf("answer: %s", strings.TrimSpace(cut(valid(string(body)), maxExcerpt)))
		}
	}
	if e.RetryAfter == 0 {
		e.RetryAfter = retryAfter(resp.Header)
	}
	return e
}

// parseProblem is false for an answer that is no problem, whatever it says it is.
func parseProblem(resp *http.Response, body []byte) (*Error, bool) {
	var p Problem
	t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")) // "" is not our type either
	if t != ProblemType {
		return nil, false
	}
	err := json.Unmarshal(body, &p)
	// The status line was seen by every hop; the member is a copy.
	p.Status = resp.StatusCode
	return p.Err(), err == nil
}

// UnmarshalJSON ignores members that have a type they should not have, as RFC 9457 section 3.1 demands of receivers:
// somebody else's "errors" must not cost us their detail. What is no JSON object is an error.
func (p *Problem) UnmarshalJSON(b []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return fmt.Errorf("problem decode: %w", err)
	}
	*p = Problem{}
	take(members, "type", &p.Type)
	take(members, "title", &p.Title)
	take(members, "status", &p.Status)
	take(members, "detail", &p.Detail)
	take(members, "instance", &p.Instance)
	take(members, "code", &p.Code)
	take(members, "reason", &p.Reason)
	take(members, "domain", &p.Domain)
	take(members, "metadata", &p.Metadata)
	take(members, "errors", &p.Errors)
	take(members, "retry_after_ms", &p.RetryAfterMS)
	if p.Type == "" {
		p.Type = "about:blank"
	}
	return nil
}

// take sets *to only if the member has the right type as a whole.
func take[T any](members map[string]json.RawMessage, name string, to *T) {
	raw, ok := members[name]
	if !ok {
		return
	}
	var v T
	if json.Unmarshal(raw, &v) == nil {
		*to = v
	}
}

// retryAfter reads either form of the header. A date is relative to the answer's own Date, when it has one, so that the
// clocks of the two machines do not matter.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseInt(v, 10, 64); err == nil {
		if s > math.MaxInt64/1000 {
			return math.MaxInt64
		}
		return milliseconds(max(0, s) * 1000)
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now := time.Now()
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return max(0, at.Sub(now))
}

// milliseconds keeps what somebody else sent within a Duration.
func milliseconds(ms int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond)
	if ms > most {
		return math.MaxInt64
	}
	return time.Duration(max(0, ms)) * time.Millisecond
}

func statusText(status int) string {
	if status == statusClientClosedRequest {
		return "Client Closed Request"
	}
	return http.StatusText(status)
}
