package rest

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// judgeResponse finds the outcome of a response, and the failure it stands for if it may be tried again.
func judgeResponse(resp *http.Response, plan resilience.Plan, took time.Duration) (resilience.Outcome, *failure.Error) {
	if resp.StatusCode < 400 {
		return resilience.OK, nil
	}
	e := &failure.Error{Code: failure.FromHTTPStatus(resp.StatusCode)}
	if mayRetry(resp.StatusCode) {
		e = readFailure(resp)
	}
	// A DEADLINE_EXCEEDED is the instance's own report: it had the deadline of the whole call, or a shorter one of its own,
	// and another instance has neither more time nor more patience.
	plan.Bounded = false
	o := plan.Classify(e, resilience.MaybeSent, took)
	if !o.Verdict().RetrySafe {
		return o, nil
	}
	return o, e
}

// mayRetry reports whether the status is one behind which the instance, not the request, can be the cause.
func mayRetry(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// worthReading reports whether the body of the response has a say in what is done next.
func worthReading(resp *http.Response) bool {
	if !mayRetry(resp.StatusCode) {
		return false
	}
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return err == nil && t == failure.ProblemType
}

// maxWhole bounds an answer that is read whole before the caller gets it.
const maxWhole = 64 << 10

// isShort reports whether the answer is so short that waiting for its end costs nothing. As long as the caller has seen nothing
// of it, an instance that dies in the middle of it can be replaced by another.
func isShort(resp *http.Response) bool {
	return resp.ContentLength > 0 && resp.ContentLength <= maxWhole && resp.Body != http.NoBody && !IsStream(resp)
}

func (a *attempt) readWhole(resp *http.Response) error {
	data := make([]byte, resp.ContentLength)
	_, err := io.ReadFull(resp.Body, data)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	a.whole.Reset(data)
	resp.Body = &a.whole
	return nil
}

// wholeBody is a body that has arrived.
type wholeBody struct{ bytes.Reader }

func (*wholeBody) Close() error { return nil }

// maxPeek bounds what is read of a problem before it is decided whether the caller gets to see it.
const maxPeek = 64 << 10

// peek reads the beginning of the body and puts it back.
func peek(resp *http.Response) {
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxPeek))
	resp.Body = &peekedBody{head: bytes.NewReader(head), data: head, err: err, rest: resp.Body}
}

// peekedBody is a body that was begun to be read.
type peekedBody struct {
	head *bytes.Reader
	data []byte
	err  error // met while peeking
	rest io.ReadCloser
}

func (b *peekedBody) Read(p []byte) (int, error) {
	if b.head.Len() > 0 {
		return b.head.Read(p)
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.rest.Read(p)
}

func (b *peekedBody) Close() error { return b.rest.Close() }

// readFailure is what the response says, without taking anything from its body.
func readFailure(resp *http.Response) *failure.Error {
	shadow := &http.Response{StatusCode: resp.StatusCode, Header: resp.Header}
	if b, ok := resp.Body.(*peekedBody); ok {
		shadow.Body = io.NopCloser(bytes.NewReader(b.data))
	}
	return failure.ReadProblem(shadow)
}
