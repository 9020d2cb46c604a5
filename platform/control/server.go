package control

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/netutil"
)

// DefaultAddr is where the API of a running system is found unless told otherwise.
const DefaultAddr = "127.0.0.1:7070"

const (
	maxConnections = 256
	maxStreams     = 64       // of logs and events at once, and as many of /v1/live; a stream may stay open for days
	maxBody        = 16 << 10 // bytes; the largest sensible request has about 100
	maxHeader      = 16 << 10

	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second // that a client may take to read what was written; then it is cut off
	idleTimeout   = 2 * time.Minute
	stopTimeout   = 2 * time.Second
)

// Config configures a Server. The zero value listens on 127.0.0.1:7070.
type Config struct {
	// Addr is the address to listen on, DefaultAddr if empty. An address beyond loopback is refused without TLS; there, reading
	// needs a token, too.
	Addr string
	// TLS, if not nil, is used for every connection.
	TLS *tls.Config
	// Token is one with the right to everything, of at least MinToken bytes that a header can have. Empty: one is made at random.
	// It is written to a file in the user's cache directory that only the user can read, where a Client of the same user finds it,
	// and that is removed at the end.
	Token string
	// Logger gets what goes wrong while serving; slog.Default() if nil.
	Logger *slog.Logger
	// Sight answers for traces and metrics; nil: there are none.
	Sight Sight
	// Steering answers for groups, queues, locks and policies; nil: there are none.
	Steering Steering
	// Console answers GET / and GET /console/…; nil: there is no page.
	Console http.Handler
}

// MinToken is how long a token has to be, in bytes.
const MinToken = 32

// Server serves the API of one system. It is a lifecycle Component.
type Server struct {
	listener net.Listener
	http     *http.Server
	scheme   string
	keys     *keyring
	token    string
	files    []string // with the token
}

// NewServer listens at once, so that a taken port is known before anything is started; Run serves. A Server
// that is not run must be closed.
func NewServer(system System, cfg Config) (_ *Server, err error) {
	addr := cmp.Or(cfg.Addr, DefaultAddr)
	if err := checkAddr(addr, cfg.TLS); err != nil {
		return nil, fmt.Errorf("control listen %s: %w", addr, err)
	}
	if cfg.Token != "" && (len(cfg.Token) < MinToken || !sendable(cfg.Token)) {
		return nil, fmt.Errorf("control listen %s: a token must have from %d to 1024 letters, digits and signs, and no spaces", addr, MinToken)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("control listen %s: %w", addr, err)
	}
	s := &Server{listener: listener, scheme: "http", token: cmp.Or(cfg.Token, newSecret())}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	bound := listener.Addr().String()
	open := isLoopback(hostOf(bound))
	if !open && cfg.TLS == nil { // a name that was taken for loopback
		return nil, fmt.Errorf("control listen %s: it is %s: %w", addr, bound, ErrBeyond)
	}
	_, port, _ := net.SplitHostPort(bound)
	s.keys = &keyring{name: "holdfast-" + port} // cookies do not tell ports apart
	s.keys.putToken(s.token, Operate)
	s.listener = netutil.LimitListener(listener, maxConnections)
	if cfg.TLS != nil {
		s.scheme = "https"
		s.listener = tls.NewListener(s.listener, cfg.TLS)
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.Default()
	}
	s.http = &http.Server{
		Addr:              bound,
		Handler:           newHandler(system, cfg, s, open),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// What net/http logs here is almost always a client that spoke garbage.
		ErrorLog: log.New(debugWriter{logger}, "", 0),
	}
	s.files, err = writeTokenFiles(bound, tokenFile{Token: s.token, PID: os.Getpid(), Pin: pin(cfg.TLS)})
	if err != nil { // everything can be seen, and with a token of one's own everything done
		logger.Warn("control API: clients of this user will not find the token by themselves; set "+TokenVariable+" for the system and for them", "error", err)
		err = nil
	}
	return s, nil
}

// Invite makes a link to the console that lets a browser in once, within an hour, with this right.
func (s *Server) Invite(right Right) Invitation {
	host, port, _ := net.SplitHostPort(s.Addr())
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return s.invite(net.JoinHostPort(host, port), right)
}

// invite makes a link for whoever reaches the server at host.
func (s *Server) invite(host string, right Right) Invitation {
	code, until := s.keys.invite(right)
	return Invitation{URL: s.scheme + "://" + host + "/#login=" + code, Code: code, Until: until}
}

// Name names the component in logs.
func (s *Server) Name() string { return "control API" }

// Addr is the address that the server listens on.
func (s *Server) Addr() string { return s.http.Addr }

// Close frees the address of a Server that will not be run.
func (s *Server) Close() error {
	removeTokenFiles(s.files, s.token)
	return s.listener.Close()
}

// Run serves until ctx ends. It returns nil then, after open streams have been closed and requests in flight
// have been answered, for which they have two seconds.
func (s *Server) Run(ctx context.Context) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx } // ends streams and long requests
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		removeTokenFiles(s.files, s.token)
		return fmt.Errorf("control serve %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	removeTokenFiles(s.files, s.token) // while the address is still ours
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := s.http.Shutdown(stop); err != nil {
		// A client that does not read holds its stream; it is cut off.
		_ = s.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control serve %s: %w", s.Addr(), err)
	}
	return nil
}

// ErrBeyond is matched by the error of NewServer about an address beyond loopback without TLS.
var ErrBeyond = errors.New("not a loopback address; beyond this machine the control API takes TLS, and a token for everything")

// checkAddr refuses to offer the API to other machines in plaintext.
func checkAddr(addr string, tlsConfig *tls.Config) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if isLoopback(host) || tlsConfig != nil {
		return nil
	}
	return ErrBeyond
}

// debugWriter passes net/http's log on as debug records.
type debugWriter struct{ logger *slog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.logger.Debug("control API", "http", string(p))
	return len(p), nil
}
