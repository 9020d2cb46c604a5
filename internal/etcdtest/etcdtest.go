// Package etcdtest runs a real etcd inside a test, quick to start and easy to break: stopped, restarted, restarted
// with an empty disk, cut off or frozen.
package etcdtest

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

const startTimeout = 30 * time.Second

// Server is an etcd of one member on loopback. Clients reach it through its Proxy, whose address stays the same over
// restarts. It does not sync its disk, which is nothing to a test. Stop and the Restarts are called by one goroutine.
type Server struct {
	*Proxy
	t      testing.TB
	dir    string
	adjust []func(*embed.Config)

	mu    sync.Mutex
	etcd  *embed.Etcd
	disks int // data directories used up
}

// Start returns a running server that stops with the test. Each adjust may change its configuration.
func Start(t testing.TB, adjust ...func(*embed.Config)) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), adjust: adjust}
	s.start()
	t.Cleanup(s.Stop)
	s.Proxy = NewProxy(t, s.Backend) // cleaned up first, and so breaks the connections that Stop would wait for
	return s
}

// Backend returns the server's own host:port, which changes with every restart; empty while it is stopped. Give it to
// NewProxy for a second way to the same server.
func (s *Server) Backend() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.etcd == nil {
		return ""
	}
	return s.etcd.Clients[0].Addr().String()
}

// Stop ends the server as a kill does: connections break, what was written is kept. It is idempotent.
func (s *Server) Stop() {
	s.Cut() // etcd's own stop waits for open watches
	s.mu.Lock()
	etcd := s.etcd
	s.etcd = nil
	s.mu.Unlock()
	if etcd != nil {
		etcd.Close()
	}
}

// Restart stops the server and starts it again on its data.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.start()
	s.Restore()
}

// RestartEmpty stops the server and starts it again without any data.
func (s *Server) RestartEmpty() {
	s.t.Helper()
	s.disks++
	s.Restart()
}

func (s *Server) start() {
	s.t.Helper()
	cfg := config(filepath.Join(s.dir, strconv.Itoa(s.disks)))
	for _, f := range s.adjust {
		f(cfg)
	}
	etcd, err := start(cfg)
	if err != nil {
		s.t.Fatalf("start etcd: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.etcd = etcd
}

func config(dir string) *embed.Config {
	free := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg := embed.NewConfig()
	cfg.Name = "test"
	cfg.Dir = dir
	cfg.ListenClientUrls, cfg.ListenPeerUrls = []url.URL{free}, []url.URL{free}
	// What is advertised is only told to other members.
	cfg.AdvertiseClientUrls, cfg.AdvertisePeerUrls = []url.URL{free}, []url.URL{free}
	cfg.InitialCluster = cfg.Name + "=" + free.String()
	cfg.TickMs, cfg.ElectionMs = 10, 100 // the shortest lease is then one second
	cfg.UnsafeNoFsync = true
	cfg.BcryptCost = 4 // the least there is
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	return cfg
}

func start(cfg *embed.Config) (*embed.Etcd, error) {
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err = <-etcd.Err():
	case <-time.After(startTimeout):
		err = fmt.Errorf("not ready within %v", startTimeout)
	}
	etcd.Close()
	return nil, err
}
