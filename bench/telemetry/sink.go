package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// sinkArgument makes this program the receiver.
const sinkArgument = "receive-and-throw-away"

// sink is another process that takes OTLP over HTTP and throws it away.
type sink struct {
	url   string
	cmd   *exec.Cmd
	stdin io.Closer
}

func startSink(ctx context.Context) (*sink, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start a receiver: %w", err)
	}
	cmd := exec.CommandContext(ctx, program, sinkArgument)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a receiver: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a receiver: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a receiver: %w", err)
	}
	s := &sink{cmd: cmd, stdin: stdin}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		s.close()
		return nil, fmt.Errorf("start a receiver: %w", err)
	}
	s.url = strings.TrimSpace(line)
	return s, nil
}

// close ends it: it ends when its standard input does, so also if this process is killed.
func (s *sink) close() {
	_ = s.stdin.Close()
	_ = s.cmd.Wait()
}

// receive says where it listens, and takes what comes until in ends.
func receive(in io.Reader, out io.Writer) error {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(lis) // ends with Close
	}()
	fmt.Fprintf(out, "http://%s\n", lis.Addr())
	_, _ = io.Copy(io.Discard, in)
	_ = srv.Close()
	<-done
	return nil
}
