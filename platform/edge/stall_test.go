package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/rest"
)

// A client that stops in the middle of its upload is answered within the time that a request has, and so is one whose
// instance has stopped reading.
func TestUploadThatStallsIsAnsweredInTime(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for _, tt := range []struct{ name, method, length string }{
		{"post", "POST", "Content-Length: 100000"},
		{"put", "PUT", "Content-Length: 100000"},
		{"large put", "PUT", "Content-Length: 9000000"},
		{"chunked", "POST", "Transfer-Encoding: chunked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSystem(t, Config{Timeout: timeout})
			s.serve("a", func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					rest.Error(w, r, err)
				}
			})
			conn, err := net.Dial("tcp", s.edge.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			begun := time.Now()
			_, _ = io.WriteString(conn, tt.method+" / HTTP/1.1\r\nHost: x\r\n"+tt.length+"\r\n\r\na\r\n0123456789\r\n")
			_ = conn.SetReadDeadline(begun.Add(20 * time.Second))
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			took := time.Since(begun)
			if err != nil {
				t.Fatalf("%v after %v", err, took)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			// On a busy machine the instance is the first to see that the time is over: to it the client's body is wrong.
			said := resp.StatusCode == http.StatusGatewayTimeout || resp.StatusCode == http.StatusBadRequest
			if !said || took > timeout+10*time.Second {
				t.Errorf("%d %s after %v", resp.StatusCode, body, took)
			}
		})
	}
}
