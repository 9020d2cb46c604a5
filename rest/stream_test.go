package rest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/internal/memnet"
)

const (
	getRoot  = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	postRoot = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
)

// onNetwork runs a server in a bubble until f returns, and returns what Run did. request opens a connection and sends text on it.
func onNetwork(t *testing.T, h http.HandlerFunc, f func(request func(text string) net.Conn)) error {
	t.Helper()
	network := memnet.New()
	l, err := network.Listen("10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, h, ServerConfig{Listener: l, Insecure: true, Timeout: time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	f(func(text string) net.Conn {
		c, err := network.Dial(t.Context(), "10.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_, _ = io.WriteString(c, text)
		return c
	})
	cancel()
	return <-ended
}

// endless writes until it cannot, by each of the ways that there are.
var endless = map[string]func(t *testing.T, w http.ResponseWriter) error{
	"Write": func(_ *testing.T, w http.ResponseWriter) error {
		for part := make([]byte, 4<<10); ; {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
	},
	"flush": func(_ *testing.T, w http.ResponseWriter) error {
		for {
			_, _ = io.WriteString(w, "data: x\n\n")
			if err := http.NewResponseController(w).Flush(); err != nil {
				return err
			}
		}
	},
	"a file": func(t *testing.T, w http.ResponseWriter) error {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(name, 1<<30); err != nil {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, io.LimitReader(f, 1<<30))
		return err
	},
	"a reader": func(_ *testing.T, w http.ResponseWriter) error {
		_, err := io.Copy(w, zeros{})
		return err
	},
}

// TestAClientThatStopsReadingIsCutOff, and holds up no stop: its handler waits in a write, and cannot see that it is to end.
func TestAClientThatStopsReadingIsCutOff(t *testing.T) {
	for name, write := range endless {
		for _, stopped := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				cut, most := make(chan error, 1), streamWrite
				begun := time.Now()
				ended := onNetwork(t, func(w http.ResponseWriter, r *http.Request) {
					Stream(w, r)
					cut <- write(t, w)
				}, func(request func(string) net.Conn) {
					request(getRoot)
					if synctest.Wait(); stopped {
						most = streamEnd
						return
					}
					<-time.After(most + time.Millisecond)
				})
				select {
				case err := <-cut:
					if !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("%s: %v", name, err)
					}
				default:
					t.Errorf("%s: it still writes", name)
				}
				if took := time.Since(begun); ended != nil || took > most+2*time.Second {
					t.Errorf("%s: ended with %v after %v", name, ended, took)
				}
			})
		}
	}
}

// TestABodyThatDoesNotComeHoldsUpNoStop: a stream's has no deadline until then.
func TestABodyThatDoesNotComeHoldsUpNoStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun time.Time
		ended := onNetwork(t, func(w http.ResponseWriter, r *http.Request) {
			r = Stream(w, r)
			_, _ = io.Copy(io.Discard, r.Body)
		}, func(request func(string) net.Conn) {
			request(postRoot)
			<-time.After(time.Hour)
			begun = time.Now()
		})
		if took := time.Since(begun); ended != nil || took > streamEnd+2*time.Second {
			t.Errorf("ended with %v after %v", ended, took)
		}
	})
}

// TestAStreamMayBeSilent for as long as it likes, and slow, and its connection serves on afterwards.
func TestAStreamMayBeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := onNetwork(t, func(w http.ResponseWriter, r *http.Request) {
			Stream(w, r)
			for range 3 {
				<-time.After(time.Hour)
				_, _ = w.Write(make([]byte, 100<<10)) // more than there is room for on the way
				_ = http.NewResponseController(w).Flush()
			}
			<-time.After(time.Hour)
		}, func(request func(string) net.Conn) {
			c := request(getRoot)
			r := bufio.NewReader(c)
			for i := range 2 {
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(i, err)
				}
				n, err := slowly(resp.Body)
				if n != 300<<10 || err != nil {
					t.Errorf("%d: %d bytes, %v", i, n, err)
				}
				if i == 0 {
					_, _ = io.WriteString(c, getRoot)
				}
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// slowly reads a part, and then waits almost for as long as a write may take.
func slowly(r io.Reader) (n int, err error) {
	for part := make([]byte, 90<<10); ; {
		m, err := io.ReadFull(r, part)
		n += m
		if err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = nil
			}
			return n, err
		}
		<-time.After(streamWrite - time.Second)
	}
}

// TestAHandlersOwnWriteDeadlineCounts in place of ours, until the server stops.
func TestAHandlersOwnWriteDeadlineCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut := make(chan time.Duration, 1)
		err := onNetwork(t, func(w http.ResponseWriter, r *http.Request) {
			Stream(w, r)
			begun := time.Now()
			_ = http.NewResponseController(w).SetWriteDeadline(begun.Add(time.Hour))
			_ = endless["Write"](t, w)
			cut <- time.Since(begun)
		}, func(request func(string) net.Conn) {
			request(getRoot)
			if took := <-cut; took != time.Hour {
				t.Errorf("cut after %v", took)
			}
			request(getRoot)
			<-time.After(time.Minute)
		})
		if took := <-cut; err != nil || took != time.Minute+streamEnd {
			t.Errorf("%v, cut after %v", err, took)
		}
	})
}

// TestATakenConnectionOfAStreamHoldsUpNoStop: whoever copies to it and from it waits for its client at both ends.
func TestATakenConnectionOfAStreamHoldsUpNoStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun time.Time
		err := onNetwork(t, func(w http.ResponseWriter, r *http.Request) {
			Stream(w, r)
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.Copy(c, zeros{})
		}, func(request func(string) net.Conn) {
			request(getRoot)
			<-time.After(time.Hour)
			begun = time.Now()
		})
		if took := time.Since(begun); err != nil || took > streamEnd+2*time.Second {
			t.Errorf("ended with %v after %v", err, took)
		}
	})
}
