package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

const (
	maxBody   = 4 << 20 // bytes of an answer that are looked into
	keyHeader = "Idempotency-Key"
)

// httpSender sends over HTTP.
type httpSender struct {
	client *http.Client
	method string
	base   string
}

func (p *Prepared) method() string {
	switch {
	case p.call.Method != "":
		return p.call.Method
	case p.call.Body != nil:
		return http.MethodPost
	default:
		return http.MethodGet
	}
}

func (h *httpSender) send(ctx context.Context, r request) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, h.method, h.base+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		req.Header.Set(keyHeader, r.key)
	}
	for name, value := range r.header {
		if http.CanonicalHeaderKey(name) == "Host" {
			req.Host = value
		} else {
			req.Header.Set(name, value)
		}
	}
	resp, err := h.client.Do(req)
	if err != nil {
		var wrapped *url.Error // it repeats the address, which may hold a password
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	a := &answer{status: strconv.Itoa(resp.StatusCode), header: resp.Header}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody)); err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err != nil {
		return nil, fmt.Errorf("status %s, then the answer broke off: %w", a.status, err)
	}
	return a, nil
}
