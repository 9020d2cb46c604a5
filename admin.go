package holdfast

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// noAdmin is what says that nobody can look at the process.
const noAdmin = "none"

// AdminConfig configures the listener where a process is looked at:
//
//	/healthz      200 while the process runs
//	/readyz       200 while it serves, 503 before and while it drains
//	/metrics      for Prometheus
//	/buildinfo    what it is made of
//	/state        whom it calls and avoids, what it leads and holds
//	/settings     settings and policies in force, and where each comes from, without secrets
//	/debug/pprof  profiles
//
// The last four are for this machine: for who comes from a loopback address and asks for one, and beyond it for who shows a
// client certificate that TLS has verified. It answers GET alone, and no web page of elsewhere.
type AdminConfig struct {
	// Addr is the TCP address to listen on. "" means Settings.AdminAddr; "none" listens nowhere.
	Addr string
	// Listener is used instead of Addr when it is not nil; the Service closes it.
	Listener net.Listener
	// TLS is the server side configuration; nil means plaintext, which is refused beyond loopback.
	TLS *tls.Config
	// Insecure allows plaintext beyond loopback.
	Insecure bool
}

const (
	// maxLooks is how many requests are answered at a time, and maxScrapes how many of them for metrics, which are not among
	// those. /healthz and /readyz, which cost nothing, are always answered: who looks must not have the process killed.
	maxLooks   = 16
	maxScrapes = 4
	// maxProfile bounds how long a profile takes, in which the process is slower.
	maxProfile = time.Minute
)

// admin is the listener of a Service that runs.
type admin struct {
	listener net.Listener
	addr     string // host:port
	server   *http.Server
	log      *slog.Logger
}

// errPlaintext is a mistake in the settings, which must not be hidden by what goes on without.
var errPlaintext = errors.New("plaintext is for loopback only: set Config.Admin.TLS, or HOLDFAST_INSECURE")

// openAdmin listens; nil if the settings want none, or if it cannot: that nobody can look is no reason not to serve.
func (s *Service) openAdmin() (*admin, error) {
	cfg := s.cfg.Admin
	l := cfg.Listener
	if l == nil {
		if cfg.Addr == noAdmin {
			return nil, nil //nolint:nilnil // documented
		}
		var err error
		if l, err = cfg.listen(); errors.Is(err, errPlaintext) {
			return nil, fmt.Errorf("admin listen on %s: %w", cfg.Addr, err)
		} else if err != nil {
			s.cfg.Logger.Error("nobody can look at this process: the admin listener cannot listen", "addr", cfg.Addr, "error", err)
			return nil, nil //nolint:nilnil // documented
		}
	}
	a := &admin{listener: l, addr: l.Addr().String(), log: s.cfg.Logger}
	if cfg.TLS != nil {
		a.listener = tls.NewListener(l, cfg.TLS.Clone())
	}
	a.server = &http.Server{
		Handler: s.adminHandler(l.Addr()), ReadHeaderTimeout: 5 * time.Second,
		// Above the longest profile: at the end of ReadTimeout net/http takes the client for gone.
		ReadTimeout: maxProfile + 10*time.Second, WriteTimeout: maxProfile + 10*time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	s.admin.Store(a)
	return a, nil
}

func (c *AdminConfig) listen() (net.Listener, error) {
	addr, err := net.ResolveTCPAddr("tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if !addr.IP.IsLoopback() && c.TLS == nil && !c.Insecure {
		return nil, errPlaintext
	}
	l, err := net.ListenTCP("tcp", addr)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says everything
	}
	return l, nil
}

// run serves until ctx ends, and whatever is asked then. When the listener fails, the process goes on without.
func (a *admin) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, a.close)
	defer stop()
	if err := a.server.Serve(a.listener); err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		a.log.Error("nobody can look at this process any more: the admin listener has failed", "error", err)
		<-ctx.Done()
	}
	return nil
}

// close may be called more than once, and of nil.
func (a *admin) close() {
	if a != nil {
		_ = a.server.Close()
		_ = a.listener.Close()
	}
}

// adminAttr is where the listener is, for the log.
func (s *Service) adminAttr() []any {
	if a := s.admin.Load(); a != nil {
		return []any{"admin", a.addr}
	}
	return nil
}

// readyAfter has /readyz wait for these; nil ones are not waited for.
func (s *Service) readyAfter(these ...<-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = these
	s.began = time.Now()
}

// unready says why the Service does not serve, "" if it does.
func (s *Service) unready() string {
	if s.draining.Load() {
		return "draining"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began.IsZero() {
		return "starting"
	}
	for _, r := range s.ready {
		if r == nil {
			continue
		}
		select {
		case <-r:
		default:
			return "starting"
		}
	}
	return ""
}

// adminHandler is everything behind the guard, for a listener at addr.
func (s *Service) adminHandler(addr net.Addr) http.Handler {
	open, local := http.NewServeMux(), http.NewServeMux()
	open.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	open.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := s.unready(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	open.Handle("/metrics", s.telemetry.Metrics())
	local.HandleFunc("/buildinfo", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.buildInfo()) })
	open.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(s.name + " " + s.cfg.Settings.Instance + "\n\n/healthz\n/readyz\n/metrics\n/buildinfo\n/state\n/settings\n/debug/pprof/\n"))
	})
	local.HandleFunc("/state", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.condition()) })
	local.HandleFunc("/settings", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.settingsInForce()) })
	local.HandleFunc("/debug/pprof/", pprof.Index)
	local.HandleFunc("/debug/pprof/cmdline", http.NotFound) // may have secrets in it
	local.HandleFunc("/debug/pprof/profile", bounded(pprof.Profile))
	local.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	local.HandleFunc("/debug/pprof/trace", bounded(pprof.Trace))
	tcp, ok := addr.(*net.TCPAddr)
	return &adminGuard{
		open: open, local: local,
		loopback: s.cfg.Admin.TLS == nil && (!s.cfg.Admin.Insecure || ok && tcp.IP.IsLoopback()),
		busy:     make(chan struct{}, maxLooks), scraped: make(chan struct{}, maxScrapes),
	}
}

// bounded refuses profiles that take too long.
func bounded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if text := r.FormValue("seconds"); text != "" {
			if d, err := time.ParseDuration(text + "s"); err != nil || d <= 0 || d > maxProfile {
				http.Error(w, fmt.Sprintf("seconds: %.20q is not more than 0, up to %.0f", text, maxProfile.Seconds()), http.StatusBadRequest)
				return
			}
		}
		h(w, r)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n'))
}

// buildInfo is what the process is made of.
type buildInfo struct {
	Service  string            `json:"service"`
	Instance string            `json:"instance"`
	Version  string            `json:"version,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	PID      int               `json:"pid"`
	Go       string            `json:"go,omitempty"`
	Path     string            `json:"path,omitempty"`
	Module   string            `json:"module,omitempty"` // with its version
	Build    map[string]string `json:"build,omitempty"`  // such as vcs.revision
	Modules  []string          `json:"modules,omitempty"`
}

func (s *Service) buildInfo() buildInfo {
	set := s.cfg.Settings
	b := buildInfo{Service: s.name, Instance: set.Instance, Version: set.Version, Zone: set.Zone, PID: os.Getpid()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go, b.Path, b.Module = info.GoVersion, info.Path, strings.TrimSpace(info.Main.Path+" "+info.Main.Version)
	b.Build = make(map[string]string)
	for _, v := range info.Settings {
		if strings.HasPrefix(v.Key, "vcs") || v.Key == "GOARCH" || v.Key == "GOOS" || v.Key == "-race" || v.Key == "-tags" {
			b.Build[v.Key] = v.Value // not -ldflags, in which some put secrets
		}
	}
	for _, m := range info.Deps {
		b.Modules = append(b.Modules, m.Path+" "+m.Version)
	}
	return b
}
