package rpc_test

import (
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"

	"github.com/holdfast-go/holdfast/registry"
)

// refuse serves HTTP/2 by hand: it lets in every connection and answers no request.
func refuse(lis net.Listener, answer func(f *http2.Framer, stream uint32) error, asked chan<- struct{}) {
	for {
		conn, err := lis.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
				return
			}
			f := http2.NewFramer(conn, conn)
			if f.WriteSettings() != nil {
				return
			}
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				if h, ok := frame.(*http2.HeadersFrame); ok {
					asked <- struct{}{}
					if answer(f, h.StreamID) != nil {
						return
					}
				}
			}
		}()
	}
}

// grpc-go retries such a call by itself, once. The second time it does not, and only says so in its error's text.
func TestAnUnsafeCallThatSeveralInstancesRefuseIsTriedOn(t *testing.T) {
	for name, answer := range map[string]func(*http2.Framer, uint32) error{
		"RST_STREAM": func(f *http2.Framer, stream uint32) error {
			return f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		},
		"GOAWAY": func(f *http2.Framer, _ uint32) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				asked := make(chan struct{}, 100)
				for _, id := range []string{"a", "b", "c", "d"} {
					lis, err := w.net.Listen("127.0.0.1:0")
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { lis.Close() })
					go refuse(lis, answer, asked)
					record := begin(w.reg.Announce(registry.Instance{
						Service: "echo", ID: id, Endpoints: map[string]string{"grpc": lis.Addr().String()},
					}).Run)
					t.Cleanup(func() { record.end() })
				}
				w.start("z")
				c := w.dial()
				connected()
				for range 20 {
					if who, err := call(t.Context(), c, say); who != "z" {
						t.Fatal(err)
					}
				}
				if len(asked) < 3 {
					t.Errorf("only %d refusals", len(asked))
				}
			})
		})
	}
}
