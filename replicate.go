package holdfast

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/replica"
)

// Replicate returns this instance's part in the replicated state of the service, for groups to be made on:
//
//	host, err := svc.Replicate()
//	stock, err := kv.New(host, "stock", kv.Config{})
//
// It needs HOLDFAST_INSTANCE, a name that stays, and HOLDFAST_DATA_DIR, a directory that stays; what it keeps is in
// replica/SERVICE/INSTANCE below that. It listens on HOLDFAST_REPLICA_ADDR for the other instances of the service, which it
// finds in the registry. It is started before the servers and tasks of the Service and stopped after them; when the
// Service begins to drain, it hands over what it leads. There is one, also when Replicate is called again.
//
// The error is one that Run reports, too: the host is nil then. It must be called before Run.
func (s *Service) Replicate() (*replica.Host, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.host != nil:
		return s.host.Host, nil
	case s.state != fresh:
		return nil, fmt.Errorf("replicate %s: the service runs already, or is closed", s.name)
	}
	host, err := s.openReplica()
	if err != nil {
		s.problem(err)
		return nil, err
	}
	s.host = &replicating{Host: host}
	return host, nil
}

func (s *Service) openReplica() (*replica.Host, error) {
	cfg, set := s.cfg.Replica, s.cfg.Settings
	var problems []string
	if cfg.Name == "" {
		if s.madeUp {
			problems = append(problems, "HOLDFAST_INSTANCE: is not set, and replicated state needs a name that stays")
		}
		cfg.Name = set.Instance
	}
	if cfg.Dir == "" {
		if set.DataDir == "" {
			problems = append(problems, "HOLDFAST_DATA_DIR: is not set, and replicated state needs a directory that stays")
		}
		cfg.Dir = filepath.Join(set.DataDir, "replica", s.name, fileName(cfg.Name))
	}
	if len(problems) > 0 {
		return nil, &SettingsError{Problems: problems}
	}
	if cfg.Peers == nil {
		cfg.Peers = replica.Registered(s.reg, s.name)
	}
	if cfg.Addr == "" && cfg.Listener == nil {
		cfg.Addr = set.ReplicaAddr
	}
	if cfg.Members == 0 {
		cfg.Members = set.Members
	}
	if cfg.Members == 0 && s.cfg.Registry == nil && set.Registry == "" {
		cfg.Members = 1 // nobody else finds this instance
	}
	return replica.NewHost(cfg)
}

// fileName is an ID as the name of a file.
func fileName(id string) string {
	name := url.PathEscape(id)
	if strings.HasPrefix(name, ".") {
		name = "%2E" + name[1:]
	}
	return name
}

// replicating is a replica.Host of which is known whether it has been run. Otherwise it is to be closed.
type replicating struct {
	*replica.Host
	begun atomic.Bool
}

// Run implements lifecycle.Component.
func (r *replicating) Run(ctx context.Context) error {
	r.begun.Store(true)
	return r.Host.Run(ctx)
}

// close is for the end of the Service.
func (r *replicating) close() error {
	if r == nil || r.begun.Load() {
		return nil
	}
	return r.Close()
}

// endpoint adds where the host is reached.
func (r *replicating) endpoint(endpoints map[string]string, advertise string) error {
	if r == nil {
		return nil
	}
	addr, err := advertised(r.Addr(), advertise)
	if err != nil {
		return errors.Join(fmt.Errorf("advertise %s: %w", replica.Endpoint, err))
	}
	endpoints[replica.Endpoint] = addr
	return nil
}
