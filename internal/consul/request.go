package consul

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAnswer bounds one answer: some twenty thousand instances, with their checks.
	maxAnswer = 64 << 20
	// maxReason bounds what is kept of an answer that is an error.
	maxReason = 512
)

// Meta is what an answer's headers say.
type Meta struct {
	// Index is the state that the answer shows; 0 when there is none.
	Index uint64
	// Leaderless says that the server that answered knows no leader, and LastContact how long ago it heard of one. An
	// agent that answers from what servers stream to it knows neither.
	Leaderless  bool
	LastContact time.Duration
	// Filtered says that there is more than the token may read. Consul does not say so to those without a token: Nameless
	// says that the answer is one to them where what is not allowed is denied.
	Filtered, Nameless bool
}

// StatusError is an answer that is not a success.
type StatusError struct {
	Agent  string
	Code   int
	Reason string
}

// Error says who answered what.
func (e *StatusError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%s: %d %s", e.Agent, e.Code, http.StatusText(e.Code))
	}
	return fmt.Sprintf("%s: %d %s", e.Agent, e.Code, e.Reason)
}

// NotFound reports whether err is Consul's answer that there is no such thing. Before 1.12 that was a 500.
func NotFound(err error) bool { return Is(err, http.StatusNotFound) || olderNotFound(err) }

// Is reports whether err is an answer with that status.
func Is(err error, status int) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Code == status
}

func olderNotFound(err error) bool {
	var s *StatusError
	if !errors.As(err, &s) {
		return false
	}
	return s.Code == http.StatusInternalServerError &&
		(strings.Contains(s.Reason, "does not have associated TTL") || strings.HasPrefix(s.Reason, "Unknown "))
}

// Unanswered reports whether err leaves open what Consul would have said: no connection, no answer in time, or one
// that says that this agent cannot know (500 without a leader, 503, 429). Another agent may know.
func Unanswered(err error) bool {
	var s *StatusError
	if errors.As(err, &s) {
		return s.Code >= 500 && !NotFound(err) || s.Code == http.StatusTooManyRequests
	}
	var bad *formatError
	return !errors.As(err, &bad) && !errors.Is(err, ErrClosed)
}

// formatError is an answer that no Consul gives.
type formatError struct{ err error }

func (e *formatError) Error() string { return e.err.Error() }
func (e *formatError) Unwrap() error { return e.err }

// silence is what each agent failed with when none answered.
type silence []error

func (s silence) Error() string {
	parts := make([]string, 0, len(s))
	for _, err := range s {
		parts = append(parts, err.Error())
	}
	return strings.Join(parts, "; ")
}

func (s silence) Unwrap() []error { return s }

// Get asks for path, whose elements are escaped (see Path), and decodes the JSON of the answer into out. The Meta is that
// of an answer that is an error, too: of a key that is not there, for instance.
func (a *Agent) Get(ctx context.Context, path string, query url.Values, out any) (Meta, error) {
	return a.request(ctx, http.MethodGet, path, query, nil, out)
}

// Put sends in: as it is if it is a []byte, else as JSON, or nothing if it is nil. out may be nil.
func (a *Agent) Put(ctx context.Context, path string, query url.Values, in, out any) (Meta, error) {
	body, raw := in.([]byte)
	if !raw && in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return Meta{}, &formatError{fmt.Errorf("encode: %w", err)}
		}
	}
	return a.request(ctx, http.MethodPut, path, query, body, out)
}

// Delete is Get with another method.
func (a *Agent) Delete(ctx context.Context, path string, query url.Values, out any) (Meta, error) {
	return a.request(ctx, http.MethodDelete, path, query, nil, out)
}

// Path joins elements that are escaped, the first of which is none: Path("/v1/agent/service", id).
func Path(base string, elements ...string) string {
	var b strings.Builder
	b.WriteString(base)
	for _, e := range elements {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(e))
	}
	return b.String()
}

func (a *Agent) request(ctx context.Context, method, path string, query url.Values, body []byte, out any) (Meta, error) {
	target := a.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return Meta{}, &formatError{fmt.Errorf("%s: %w", a.addr, err)}
	}
	secret, err := a.c.token.get()
	if err != nil {
		return Meta{}, err
	}
	if secret != "" {
		req.Header.Set("X-Consul-Token", secret)
	}
	resp, err := a.c.http.Do(req)
	if err != nil {
		var u *url.Error // whose text has the whole URL in it
		if errors.As(err, &u) {
			err = u.Err
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return Meta{}, fmt.Errorf("%s: %w", a.addr, err)
	}
	defer resp.Body.Close()
	meta := metaOf(resp.Header)
	meta.Nameless = secret == "" && resp.Header.Get("X-Consul-Default-Acl-Policy") == "deny"
	if resp.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // as much as there is
		return meta, &StatusError{Agent: a.addr, Code: resp.StatusCode, Reason: printable(reason)}
	}
	return meta, a.read(ctx, resp.Body, out)
}

func (a *Agent) read(ctx context.Context, body io.Reader, out any) error {
	b, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%s: %w", a.addr, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("%s: %w", a.addr, err)
	case len(b) > maxAnswer:
		return &formatError{fmt.Errorf("%s: an answer of more than %d bytes", a.addr, maxAnswer)}
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return &formatError{fmt.Errorf("%s: decode: %w", a.addr, err)}
	}
	return nil
}

// metaOf reads the headers. What cannot be read counts as absent, and an absent index as none.
func metaOf(h http.Header) Meta {
	var m Meta
	m.Index, _ = strconv.ParseUint(h.Get("X-Consul-Index"), 10, 64)
	m.Leaderless = h.Get("X-Consul-KnownLeader") == "false" && h.Get("X-Consul-Query-Backend") != "streaming"
	if ms, err := strconv.ParseUint(h.Get("X-Consul-LastContact"), 10, 32); err == nil {
		m.LastContact = time.Duration(ms) * time.Millisecond
	}
	m.Filtered = h.Get("X-Consul-Results-Filtered-By-ACLs") == "true"
	return m
}

// printable makes a line of what an agent said.
func printable(b []byte) string {
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return ' '
		}
		return r
	}, string(b))
	return strings.TrimSpace(s)
}
