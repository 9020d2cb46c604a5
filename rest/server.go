package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// hushGrace is what a connection without a request is given when the server stops: long enough for a request that
	// is on its way.
	hushGrace = 250 * time.Millisecond
	// cutGrace is how long handlers may take to notice that their connection was cut.
	cutGrace = time.Second
	// joinPoll is how often join looks, like http.Server.Shutdown itself.
	joinPoll = 5 * time.Millisecond
)

// Server serves one handler on one listener. It is a lifecycle component: Run serves, Drain tells clients to go elsewhere.
type Server struct {
	handler  *Handler
	cfg      ServerConfig
	listener net.Listener
	server   *http.Server
	ready    chan struct{}
	end      context.Context // done once Close was called
	close    context.CancelFunc

	conns  sync.Map // net.Conn to *connState
	hushed atomic.Bool
}

// NewServer listens at once, so that Addr is known and a taken port is an error here, and serves h, wrapped as by Wrap,
// once Run is called. Without TLS the address must be on loopback unless cfg.Insecure is set. A Server that is never run
// must be closed; after an error a Listener that was passed in is still the caller's.
func NewServer(h http.Handler, cfg ServerConfig) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	l := cfg.Listener
	if l == nil {
		if cfg.TLS == nil && !cfg.Insecure {
			if err := loopbackOnly(cfg.Addr); err != nil {
				return nil, err
			}
		}
		var err error
		if l, err = net.Listen("tcp", cfg.Addr); err != nil {
			return nil, fmt.Errorf("rest listen: %w", err)
		}
	} else if tcp, ok := l.Addr().(*net.TCPAddr); ok && cfg.TLS == nil && !cfg.Insecure && !tcp.IP.IsLoopback() {
		return nil, plaintextError(tcp.String())
	}
	handler := Wrap(h, cfg)
	s := &Server{
		handler:  handler,
		cfg:      cfg,
		listener: l,
		ready:    make(chan struct{}),
	}
	close(s.ready)
	s.end, s.close = context.WithCancel(context.Background())
	s.server = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
		ConnState:         s.track,
	}
	if cfg.TLS != nil {
		s.server.TLSConfig = cfg.TLS.Clone()
	}
	if cfg.Timeout > 0 {
		// The context's deadline does not reach a handler that blocks in a read or write: a client that sends its
		// body, or takes the answer, a byte at a time.
		s.server.ReadTimeout = cfg.Timeout + slack
		s.server.WriteTimeout = s.server.ReadTimeout + slack // or nobody could be told that the body did not come
	}
	return s, nil
}

// loopbackOnly resolves names, as listening would.
func loopbackOnly(addr string) error {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return fmt.Errorf("rest listen %s: %w", addr, err)
	}
	if !tcp.IP.IsLoopback() {
		return plaintextError(addr)
	}
	return nil
}

func plaintextError(addr string) error {
	return fmt.Errorf("rest listen %s: plaintext is for loopback only: set TLS, or Insecure to allow it", addr)
}

// Addr returns the address the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Name implements lifecycle.Namer.
func (s *Server) Name() string { return "rest server " + s.Addr().String() }

// Ready returns a channel that is closed: requests that come before Run wait in the listener's backlog.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Handler returns the wrapped handler that the server serves.
func (s *Server) Handler() *Handler { return s.handler }

// Drain makes every answer carry "Connection: close" and the health path fail; requests are served as before. It returns
// at once.
func (s *Server) Drain(context.Context) error {
	s.handler.Drain()
	return nil
}

// Run serves until ctx is done, then closes the listener, ends the contexts of streams, lets idle connections end
// (a request that comes on one within a quarter of a second is still served), waits up to DrainTimeout for the
// requests in flight, and cuts those that remain, which is reported as an error. It may be called once. After Close it
// returns nil.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() {
		if s.server.TLSConfig != nil {
			served <- s.server.ServeTLS(s.listener, "", "")
			return
		}
		served <- s.server.Serve(s.listener)
	}()
	select {
	case err := <-served:
		_ = s.server.Close()
		s.join()
		if s.end.Err() != nil {
			return nil //nolint:nilerr // err is that of our own Close
		}
		return fmt.Errorf("rest serve %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	s.handler.Drain()
	_ = s.listener.Close()
	<-served //nolint:errcheck // that its listener is closed
	return s.shutdown(context.WithoutCancel(ctx))
}

func (s *Server) shutdown(ctx context.Context) error {
	s.handler.EndStreams()
	ctx, cancel := context.WithTimeout(ctx, max(0, s.cfg.DrainTimeout))
	defer cancel()
	stop := context.AfterFunc(s.end, cancel)
	defer stop()
	s.hush(ctx)
	err := s.server.Shutdown(ctx)
	if err == nil {
		err = s.handled(ctx)
	}
	if err == nil {
		s.join()
		return nil
	}
	_ = s.server.Close()
	joined := s.join()
	switch {
	case s.end.Err() != nil:
		return nil
	case !joined:
		return fmt.Errorf("rest drain %s: requests still running after %v", s.Addr(), max(0, s.cfg.DrainTimeout)+cutGrace)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("rest drain %s: connections cut after %v", s.Addr(), max(0, s.cfg.DrainTimeout))
	}
	return fmt.Errorf("rest drain %s: %w", s.Addr(), err)
}

// handled waits for handlers whose connections are hijacked, which http.Server does not know any more.
func (s *Server) handled(ctx context.Context) error {
	poll := time.NewTicker(joinPoll)
	defer poll.Stop()
	for s.handler.active.Load() > 0 {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// join waits for handlers to return, those of hijacked connections included, whom http.Server does not know any more,
// and for net/http's own goroutines, which linger for half a second after an answer whose request was not read to
// its end. It reports whether all handlers returned, and gives up on those that do not notice that their client is gone.
func (s *Server) join() bool {
	late := time.NewTimer(cutGrace)
	defer late.Stop()
	poll := time.NewTicker(joinPoll)
	defer poll.Stop()
	for s.handler.active.Load() > 0 || s.connected() {
		select {
		case <-poll.C:
		case <-late.C:
			return s.handler.active.Load() == 0
		}
	}
	return true
}

func (s *Server) connected() bool {
	found := false
	s.conns.Range(func(any, any) bool {
		found = true
		return false
	})
	return found
}

// connState is what is known of a connection.
type connState struct {
	quiet atomic.Bool // no request at the moment
	met   atomic.Bool // there was one, or HTTP/2 has begun: the handshake is over
}

// track keeps the connections that are between requests, or before their first.
func (s *Server) track(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		state := new(connState)
		state.quiet.Store(true)
		s.conns.Store(c, state)
	case http.StateActive, http.StateIdle:
		if v, ok := s.conns.Load(c); ok {
			v.(*connState).quiet.Store(state == http.StateIdle)
			v.(*connState).met.Store(true)
		}
		if state == http.StateActive && s.hushed.Load() {
			_ = c.SetReadDeadline(s.readDeadline()) // it may have one of hush, which was not meant for its request
		}
	case http.StateClosed, http.StateHijacked:
		s.conns.Delete(c)
	}
}

func (s *Server) readDeadline() time.Time {
	if d := s.server.ReadTimeout; d > 0 {
		return time.Now().Add(d)
	}
	return time.Time{}
}

// hush lets connections without a request end by themselves, and serves the requests that are on their way meanwhile.
// http.Server.Shutdown would cut an idle connection even if a request waits in its buffer, and would wait five
// seconds for one that was opened in advance. The deadlines are set again and again, because net/http sets its
// own for a connection a moment after it told us about it.
func (s *Server) hush(ctx context.Context) {
	s.hushed.Store(true)
	at := time.Now().Add(hushGrace)
	end := time.NewTimer(2 * hushGrace)
	defer end.Stop()
	poll := time.NewTicker(joinPoll)
	defer poll.Stop()
	for {
		left := false
		s.conns.Range(func(conn, state any) bool {
			// What a connection speaks is known once it was active; before, to ask waits for the end of its handshake.
			if c, st := conn.(net.Conn), state.(*connState); st.quiet.Load() && !(st.met.Load() && multiplexed(c)) {
				left = true
				_ = c.SetReadDeadline(at)
				if !st.quiet.Load() { // a request has begun meanwhile, and track may have been before us
					_ = c.SetReadDeadline(s.readDeadline())
				}
			}
			return true
		})
		if !left {
			return
		}
		select {
		case <-poll.C:
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// multiplexed reports whether HTTP/2 is spoken, which has a frame for saying good-bye; Shutdown sends it.
func multiplexed(c net.Conn) bool {
	t, ok := c.(*tls.Conn)
	return ok && t.ConnectionState().NegotiatedProtocol == "h2"
}

// Close closes the listener and all connections at once. It is safe to call at any time and more than once.
func (s *Server) Close() error {
	s.close()
	s.handler.EndStreams()
	err := s.server.Close()
	if lerr := s.listener.Close(); err == nil && !errors.Is(lerr, net.ErrClosed) {
		err = lerr
	}
	return err
}
