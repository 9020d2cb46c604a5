package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/linear"
	"github.com/holdfast-go/holdfast/replica"
)

// childEnv holds the spec of a member: this program is one when it is set.
const childEnv = "HOLDFAST_CHAOS_MEMBER"

// spec says which member a process is.
type spec struct {
	Name     string
	Dir      string
	Addr     string // for the other members
	Clients  string // for the clients
	Peers    []replica.Peer
	Members  int
	Election time.Duration
	Insecure bool // in namespaces
}

// store is the machine.
type store struct {
	mu sync.RWMutex
	s  linear.Store
}

// Apply implements replica.Machine.
func (s *store) Apply(e replica.Entry) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s.Apply(e.Command)
}

// Snapshot implements replica.Machine.
func (s *store) Snapshot() (replica.Snapshot, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return view{s.s.Snapshot()}, nil
}

// Restore implements replica.Machine.
func (s *store) Restore(r io.Reader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s.Restore(r)
}

func (s *store) get(key string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.s.Get(key)
}

type view struct{ *linear.Store }

// Release implements replica.Snapshot.
func (view) Release() {}

// serve is a member until it is told to end.
func serve(ctx context.Context, s spec) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("member", s.Name)
	host, err := replica.NewHost(replica.Config{
		Name: s.Name, Dir: s.Dir, Addr: s.Addr, Peers: replica.Static(s.Peers...), Members: s.Members, Election: s.Election,
		SegmentBytes: 256 << 10, Insecure: s.Insecure, Logger: log,
	})
	if err != nil {
		return fmt.Errorf("host: %w", err)
	}
	machine := new(store)
	// Small figures: snapshots, and members that need one, come by the minute.
	group, err := host.Group("chaos", machine, replica.GroupConfig{SnapshotEntries: 500, KeyRetention: time.Hour})
	if err != nil {
		return errors.Join(fmt.Errorf("group: %w", err), host.Close())
	}
	l, err := net.Listen("tcp", s.Clients)
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), host.Close())
	}
	server := &http.Server{Handler: handler(group, machine), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	err = host.Run(ctx)
	return errors.Join(err, server.Close(), ignoreClosed(<-served))
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// The answers that say more than yes.
const (
	statusRefused = http.StatusTooManyRequests // not done, and never will be
	statusUnknown = http.StatusConflict        // nobody will say
)

func handler(group *replica.Group, machine *store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /propose", func(w http.ResponseWriter, r *http.Request) {
		command, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := group.Propose(r.Context(), command, replica.Once(r.URL.Query().Get("once")))
		if err != nil {
			refuse(w, err)
			return
		}
		_, _ = w.Write(answer) // the client is gone; it counts as unknown
	})
	mux.HandleFunc("GET /read", func(w http.ResponseWriter, r *http.Request) {
		level, err := strconv.ParseInt(r.URL.Query().Get("level"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var value string
		err = group.Read(r.Context(), replica.Level(level), func() error {
			value = machine.get(r.URL.Query().Get("key"))
			return nil
		})
		if err != nil {
			refuse(w, err)
			return
		}
		_, _ = io.WriteString(w, value)
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(group.Status())
	})
	return mux
}

func refuse(w http.ResponseWriter, err error) {
	code := http.StatusServiceUnavailable
	switch {
	case errors.Is(err, replica.ErrOutcomeUnknown):
		code = statusUnknown
	case failure.CodeOf(err) == failure.ResourceExhausted:
		code = statusRefused
	}
	http.Error(w, err.Error(), code)
}
