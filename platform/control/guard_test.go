package control_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/platform/control"
)

// send writes a request as it is and returns the answer.
func send(t *testing.T, addr, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer to %.60q: %v", request, err)
	}
	return resp
}

func rawGet(t *testing.T, addr, path string) (string, error) {
	t.Helper()
	resp := send(t, addr, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// What a page elsewhere can make a browser send is refused before anybody looks at tokens, even with one.
func TestWhatPagesSendIsRefused(t *testing.T) {
	f := &fakeSystem{}
	_, addr := serve(t, f)
	_, port, _ := net.SplitHostPort(addr)
	const get, post = "GET /v1/system", "POST /v1/kill"
	for _, tc := range []struct {
		name, line string
		headers    []string
		status     int
	}{
		{"the address itself", get, []string{"Host: " + addr}, 200},
		{"localhost", get, []string{"Host: localhost:" + port}, 200},
		{"IPv6 loopback", get, []string{"Host: [::1]:" + port}, 200},
		{"a rebound name", get, []string{"Host: evil.example:" + port}, 403},
		{"a name that starts like loopback", get, []string{"Host: 127.0.0.1.evil.example"}, 403},
		{"another machine's address", get, []string{"Host: 192.168.0.7:" + port}, 403},
		{"no host", get, []string{"Host:"}, 403},
		{"our own page", post, []string{"Host: " + addr, "Origin: http://" + addr, "Content-Type: application/json"}, 200},
		{"a foreign page", post, []string{"Host: " + addr, "Origin: https://evil.example", "Content-Type: application/json"}, 403},
		{"a foreign page that reads", get, []string{"Host: " + addr, "Origin: https://evil.example"}, 403},
		{"another port of this machine", post, []string{"Host: " + addr, "Origin: http://127.0.0.1:1", "Content-Type: application/json"}, 403},
		{"another scheme", post, []string{"Host: " + addr, "Origin: https://" + addr, "Content-Type: application/json"}, 403},
		{"a sandboxed page", post, []string{"Host: " + addr, "Origin: null", "Content-Type: application/json"}, 403},
		{"a form", post, []string{"Host: " + addr, "Content-Type: text/plain"}, 400},
		{"a form of HTML's", post, []string{"Host: " + addr, "Content-Type: application/x-www-form-urlencoded"}, 400},
		{"no type", post, []string{"Host: " + addr}, 400},
		{"an image on a foreign page", get, []string{"Host: " + addr, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}, 403},
		{"a page of another port", get, []string{"Host: " + addr, "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"}, 403},
		{"a link on a foreign page", get, []string{"Host: " + addr, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 200},
		{"a frame on a foreign page", get, []string{"Host: " + addr, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, 403},
		{"a form that navigates", post, []string{"Host: " + addr, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Content-Type: application/json"}, 403},
		{"a preflight", "OPTIONS /v1/kill", []string{"Host: " + addr, "Origin: https://evil.example", "Access-Control-Request-Method: POST"}, 403},
		{"a preflight of our own", "OPTIONS /v1/kill", []string{"Host: " + addr, "Origin: http://" + addr, "Access-Control-Request-Method: POST"}, 404},
		{"a WebSocket", "GET /v1/live", []string{"Host: " + addr, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"}, 400},
		{"a WebSocket of a foreign page", "GET /v1/live", []string{"Host: " + addr, "Origin: https://evil.example", "Connection: Upgrade", "Upgrade: websocket"}, 403},
		{"a look at what there is", "HEAD /v1/system", []string{"Host: " + addr}, 200},
		{"a look at a stream, which ends", "HEAD /v1/live", []string{"Host: " + addr}, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const body = `{"target": "orders-1"}`
			headers := strings.Join(append(tc.headers, "Authorization: Bearer "+operator, fmt.Sprintf("Content-Length: %d", len(body))), "\r\n")
			resp := send(t, addr, tc.line+" HTTP/1.1\r\n"+headers+"\r\n\r\n"+body)
			if resp.StatusCode != tc.status {
				b, _ := io.ReadAll(resp.Body)
				t.Errorf("status = %d, want %d: %s", resp.StatusCode, tc.status, b)
			}
			for name := range resp.Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("other sites are let in: %s", name)
				}
			}
			if tc.status >= 400 {
				if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
					t.Errorf("content type = %q, want a problem", ct)
				}
				equal(t, "calls", f.called(), nil)
			}
			f.called()
		})
	}
}

func TestBadRequestsAreAnswered(t *testing.T) {
	f := &fakeSystem{}
	_, addr := serve(t, f)
	post := func(path, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+operator+"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	}
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n" }
	for _, tc := range []struct {
		name, request string
		status        int
		message       string
	}{
		{"no JSON", post("/v1/kill", "orders-1"), 400, "not the expected JSON object"},
		{"nothing", post("/v1/kill", ""), 400, "the body is empty"},
		{"an unknown member", post("/v1/kill", `{"instance": "orders-1"}`), 400, "unknown field"},
		{"two values", post("/v1/kill", `{"target": "orders-1"}{}`), 400, "more than one JSON value"},
		{"a wrong type", post("/v1/scale", `{"service": "orders", "replicas": "three"}`), 400, "replicas"},
		{"a number and none", post("/v1/scale", `{"service": "orders", "replicas": 3, "auto": true}`), 400, "both"},
		{"a missing number", post("/v1/scale", `{"service": "orders"}`), 400, "replicas is missing"},
		{"too many", post("/v1/scale", `{"service": "orders", "replicas": 1000000}`), 400, "replicas must be from 0 to"},
		{"a large body", post("/v1/kill", `{"target": "`+strings.Repeat("x", 20<<10)+`"}`), 400, "larger than 16384 bytes"},
		{"an unknown path", get("/v2/system"), 404, "nothing answers GET /v2/system"},
		{"a wrong method", get("/v1/kill"), 404, "nothing answers GET /v1/kill"},
		{"a wrong follow", get("/v1/logs?follow=perhaps"), 400, "follow must be true or false"},
		{"wrong lines", get("/v1/logs?lines=-1"), 400, "lines must be from 0"},
		{"garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp := send(t, addr, tc.request)
			b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
			if resp.StatusCode != tc.status || !strings.Contains(string(b), tc.message) {
				t.Errorf("answer = %d %s, want %d with %q", resp.StatusCode, b, tc.status, tc.message)
			}
		})
	}
	equal(t, "calls", f.called(), nil)
}

// A client that announces a huge body is not waited for, nor read.
func TestAHugeBodyIsNotRead(t *testing.T) {
	_, addr := serve(t, &fakeSystem{})
	resp := send(t, addr, "POST /v1/kill HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+operator+"\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n"+
		`{"target": "`+strings.Repeat("x", 32<<10))
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status = %d, want 400", resp.StatusCode)
	}
}

func TestIndexSaysWhatThereIs(t *testing.T) {
	_, addr := serve(t, &fakeSystem{})
	text, err := rawGet(t, addr, "/")
	for _, path := range []string{"/v1/system", "/v1/instances", "/v1/logs", "/v1/events", "/v1/kill", "/v1/freeze", "/v1/thaw", "/v1/restart", "/v1/scale", "/v1/down"} {
		if err != nil || !strings.Contains(text, path) {
			t.Errorf("index lacks %s (%v)", path, err)
		}
	}
}

func TestOnlyLoopbackWithoutTLS(t *testing.T) {
	for _, tc := range []struct {
		addr string
		tls  *tls.Config
		want string
	}{
		{"0.0.0.0:0", nil, "not a loopback address"},
		{":0", nil, "not a loopback address"},
		{"example.com:0", nil, "not a loopback address"},
		{"nonsense", nil, "missing port"},
		{"127.0.0.1:0", nil, ""},
		{"localhost:0", nil, ""},
		{"0.0.0.0:0", &tls.Config{MinVersion: tls.VersionTLS13}, ""},
	} {
		srv, err := control.NewServer(&fakeSystem{}, control.Config{Addr: tc.addr, TLS: tc.tls})
		switch {
		case err == nil:
			_ = srv.Close()
			if tc.want != "" {
				t.Errorf("%s: listens, want %q", tc.addr, tc.want)
			}
		case tc.want == "" || !strings.Contains(err.Error(), tc.want):
			t.Errorf("%s: %v, want %q", tc.addr, err, tc.want)
		}
	}
}

func TestATakenPortIsKnownBeforeAnythingStarts(t *testing.T) {
	_, addr := serve(t, &fakeSystem{})
	_, err := control.NewServer(&fakeSystem{}, control.Config{Addr: addr})
	if err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), addr) {
		t.Errorf("error = %v, want it to name %s", err, addr)
	}
}
