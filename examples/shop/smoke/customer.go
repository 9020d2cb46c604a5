package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// customer makes requests and takes every answer as it is: nothing is tried again.
type customer struct {
	edge   string
	http   *http.Client
	record *record
}

const (
	requestTimeout = 10 * time.Second
	maxBody        = 1 << 20
	keptBody       = 400
)

func newCustomer(edge string, r *record) *customer {
	return &customer{edge: strings.TrimSuffix(edge, "/"), record: r, http: &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 256,
			IdleConnTimeout:     30 * time.Second,
			DisableCompression:  true,
		},
	}}
}

// ask makes a request, records the answer, and returns its body if it was a good one, and its status.
func (c *customer) ask(ctx context.Context, k kind, method, path, key string, body any) ([]byte, int) {
	res := result{kind: k, request: method + " " + path, key: key, phase: c.record.phase(), start: time.Now()}
	answer, err := c.do(ctx, method, path, key, body, &res)
	res.end = time.Now()
	if err != nil {
		res.status, res.body = 0, err.Error()
	} else {
		res.body = strings.TrimSpace(string(answer[:min(len(answer), keptBody)]))
		res.blank = k == browse && bytes.Contains(answer, []byte(`"stock":null`))
	}
	if ctx.Err() != nil {
		return nil, 0 // the end of the run, not a failure of the shop
	}
	if res.status/100 == 2 {
		res.body = "" // only failures are looked at
	}
	c.record.add(res)
	return answer, res.status
}

func (c *customer) do(ctx context.Context, method, path, key string, body any, res *result) ([]byte, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.edge+path, in)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	res.status = resp.StatusCode
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("%d, then the body broke off: %w", resp.StatusCode, err)
	}
	return answer, nil
}

func contains(s, part string) bool { return strings.Contains(s, part) }
