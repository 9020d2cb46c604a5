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
	finish  []func(error) // told of its end, or of why it could not be set up, once
	heard   bool          // a message was received
}

// begun is told that the stream is the user's from here on. It may have ended meanwhile.
func (s *clientStream) begun() {
	a := s.attempt
	a.call.mu.Lock()
	a.flowing = true
	over := a.finish()
	end := a.flowed
	a.call.mu.Unlock()
	if over {
		s.tell(s.explain(end.err))
	}
}

// ended is told by grpc-go how what a had set up has ended, or why it was not set up. It is where the end of a stream is
// known for certain, whoever was told of it or was not.
func (s *clientStream) ended(a *attempt, err error) {
	now := time.Now()
	a.settle(err)
	a.call.mu.Lock()
	a.flowed = &streamEnd{now, err}
	over := a.finish()
	a.call.mu.Unlock()
	if over {
		s.tell(s.explain(err))
	}
}

func (s *clientStream) tell(err error) {
	for _, f := range s.finish {
		f(err)
	}
}

// RecvMsg implements grpc.ClientStream.
func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil && !s.heard {
		s.heard = true
		s.attempt.heard()
	}
	return s.explain(err)
}

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
