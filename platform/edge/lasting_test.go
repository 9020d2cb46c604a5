package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/rest"
)

func TestEventsOutliveTheTimeoutAndEndWithTheEdge(t *testing.T) {
	s := newSystem(t, Config{Timeout: 500 * time.Millisecond})
	gone := make(chan struct{})
	s.serve("a", func(w http.ResponseWriter, r *http.Request) {
		r = rest.Stream(w, r)
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for {
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				close(gone)
				return
			}
		}
	})
	resp, err := s.client.Get(s.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for n := 0; n < 40; n++ {
		if !lines.Scan() {
			t.Fatalf("the stream ended after %d lines: %v", n, lines.Err())
		}
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	for lines.Scan() {
	}
	<-gone
}

// upgraded is a connection that was upgraded by an instance, which handles its end of it.
func upgraded(t *testing.T, s *system, handle func(conn net.Conn, buf io.Reader)) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	s.serve("a", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "parrot")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		handle(conn, buf)
	})
	conn, err := net.Dial("tcp", s.edge.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: parrot\r\n\r\n")
	buf := bufio.NewReader(conn)
	resp, err := http.ReadResponse(buf, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	return conn.(*net.TCPConn), buf
}

func TestUpgradedConnectionsOutliveTheTimeout(t *testing.T) {
	conn, buf := upgraded(t, newSystem(t, Config{Timeout: 500 * time.Millisecond}), func(conn net.Conn, buf io.Reader) {
		_, _ = io.Copy(conn, buf)
	})
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for n := range 40 {
		_, _ = fmt.Fprintf(conn, "%d\n", n)
		if line, err := buf.ReadString('\n'); err != nil || line != fmt.Sprintf("%d\n", n) {
			t.Fatalf("%q %v", line, err)
		}
		<-tick.C
	}
}

// Tunnels and the like say all they have to say, end their side, and wait for the answer.
func TestWhoEndsItsSideOfAnUpgradedConnectionGetsTheAnswer(t *testing.T) {
	conn, buf := upgraded(t, newSystem(t, Config{}), func(conn net.Conn, buf io.Reader) {
		all, err := io.ReadAll(buf)
		_, _ = fmt.Fprintf(conn, "%s %v", all, err)
	})
	_, _ = io.WriteString(conn, "hello")
	_ = conn.CloseWrite()
	if got, err := io.ReadAll(buf); string(got) != "hello <nil>" {
		t.Errorf("%q %v", got, err)
	}
}
