//go:build unix

// Package consultest runs a real Consul inside a test, as processes of its own that end with it, and easy to break:
// killed, restarted, restarted with an empty disk, cut off or frozen. It needs `make consul`.
package consultest

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/consulagent"
	"github.com/holdfast-go/holdfast/internal/proxytest"
)

const startTimeout = 3 * time.Minute

// Server is a Consul agent that is its own cluster. Clients reach it through its Proxy or directly at Addr. Its methods
// are called by one goroutine.
type Server struct {
	*consulagent.Agent
	t     testing.TB
	Proxy *proxytest.Proxy
}

// Start returns a dev agent, which starts quickly and forgets everything when it is restarted.
func Start(t testing.TB) *Server {
	t.Helper()
	return start(t, consulagent.Config{})
}

// StartLocked returns a dev agent whose ACLs deny everything but to the token, which is a UUID.
func StartLocked(t testing.TB, token string) *Server {
	t.Helper()
	return start(t, consulagent.Config{Token: token, HCL: `acl { enabled = true, default_policy = "deny",
		tokens { initial_management = "` + token + `", agent = "` + token + `" } }`})
}

// StartLasting returns an agent that keeps what it has on disk.
func StartLasting(t testing.TB) *Server {
	t.Helper()
	return start(t, consulagent.Config{Servers: 1})
}

func start(t testing.TB, cfg consulagent.Config) *Server {
	t.Helper()
	cfg.Dir = t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	a, err := consulagent.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	s := &Server{Agent: a, t: t}
	s.Proxy = proxytest.New(t, a.Addr)
	return s
}

// Restart kills the agent, if it runs, and starts it again on the data that it has.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.start()
}

// RestartEmpty kills the agent, if it runs, and starts it again without any data.
func (s *Server) RestartEmpty() {
	s.t.Helper()
	s.Kill()
	if err := s.Wipe(); err != nil {
		s.t.Fatal(err)
	}
	s.start()
}

func (s *Server) start() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := s.Agent.Start(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// StartCluster returns n servers that have a leader.
func StartCluster(t testing.TB, n int) consulagent.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := consulagent.StartCluster(ctx, t.TempDir(), n, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
