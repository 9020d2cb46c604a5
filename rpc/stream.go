package rpc

import (
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/resilience"
)

// clientStream is a stream whose errors name its instance.
type clientStream struct {
	grpc.ClientStream
	attempt *attempt
}

// RecvMsg implements grpc.ClientStream.
func (s *clientStream) RecvMsg(m any) error { return s.explain(s.ClientStream.RecvMsg(m)) }

// SendMsg implements grpc.ClientStream.
func (s *clientStream) SendMsg(m any) error { return s.explain(s.ClientStream.SendMsg(m)) }

func (s *clientStream) explain(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	now := time.Now()
	a := s.attempt
	a.call.mu.Lock()
	fail := a.failure(a.Context, now, err)
	a.call.mu.Unlock()
	e := &resilience.CallError{
		Service:  a.call.target.service,
		Method:   a.call.method,
		Attempts: []resilience.Attempt{a.record(now, fail)},
		Err:      fail,
	}
	if deadline, ok := a.Deadline(); ok {
		e.Remaining = deadline.Sub(now)
	}
	return e
}
