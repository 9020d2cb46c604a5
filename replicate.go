package holdfast

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
// A group that fails for good (replica.Config.Failed) ends the Service, and Run returns its error: an instance whose state
// stands still looks well to everybody but its users, and a restart, which a supervisor makes and counts, is what helps
// where anything does. Set Config.Replica.Failed to do something else.
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
	r := &replicating{failed: make(chan error, 1), there: make(chan struct{})}
	host, err := s.openReplica(r)
	if err != nil {
		s.problem(err)
		return nil, err
	}
	r.Host, s.host = host, r
	return host, nil
}

func (s *Service) openReplica(r *replicating) (*replica.Host, error) {
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
	if cfg.Founders == nil && len(set.Founders) > 0 {
		cfg.Founders = set.Founders
		cfg.Members = cmp.Or(cfg.Members, len(cfg.Founders))
	}
	if cfg.Members == 0 && s.cfg.Registry == nil && set.Registry == "" {
		// Nobody else finds this instance. One that others are meant to reach is not founded alone by an oversight.
		if !onLoopback(cfg.Addr, cfg.Listener) {
			return nil, &SettingsError{Problems: []string{fmt.Sprintf("HOLDFAST_REGISTRY: is not set, and replicated state that listens on %s is for several "+
				"instances; HOLDFAST_MEMBERS=1 is for one alone", cfg.Addr)}}
		}
		cfg.Members = 1
	}
	if cfg.Failed == nil {
		cfg.Failed = r.fail
	}
	var err error
	if cfg.Addr, cfg.Listener, err = s.listenOn(cfg.Addr, cfg.Listener, cfg.ServerTLS == nil && !cfg.Insecure); err != nil {
		return nil, fmt.Errorf("replica listen: %w", err)
	}
	host, err := replica.NewHost(cfg)
	if err != nil {
		s.unlisten(cfg.Listener)
	}
	return host, err
}

// onLoopback reports whether only this machine reaches what listens there: at lis, if it is not nil.
func onLoopback(addr string, lis net.Listener) bool {
	if lis != nil {
		addr = lis.Addr().String()
	}
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil {
		return ip.IsLoopback()
	}
	return addr == "" || host == "localhost"
}

// fileName is an ID as the name of a file.
func fileName(id string) string {
	name := url.PathEscape(id)
	if strings.HasPrefix(name, ".") {
		name = "%2E" + name[1:]
	}
	return name
}

// settling is how long an instance says that it is starting because its groups are not there. It serves all the while, and
// callers wait for them anyway: this is for who starts instances one after the other, and a majority that does not come is
// none of that one's business.
const settling = 10 * time.Second

// replicating is a replica.Host of which is known whether it has been run. Otherwise it is to be closed.
type replicating struct {
	*replica.Host
	begun  atomic.Bool
	failed chan error    // capacity 1: of the first group that has failed
	there  chan struct{} // closed when all groups are as current as they were at some time since Run, or settling is over
}

// settled is closed when health checks can say that the instance serves; nil if there is nothing to wait for.
func (r *replicating) settled() <-chan struct{} {
	if r == nil {
		return nil
	}
	return r.there
}

// settle waits for the groups.
func (r *replicating) settle(ctx context.Context) {
	defer close(r.there)
	timeout := time.NewTimer(settling)
	defer timeout.Stop()
	for _, g := range r.Groups() {
		select {
		case <-g.Ready():
		case <-g.Done():
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Run implements lifecycle.Component.
func (r *replicating) Run(ctx context.Context) error {
	r.begun.Store(true)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Host.Run(ctx) }()
	var settled sync.WaitGroup
	defer settled.Wait()
	defer cancel()
	settled.Go(func() { r.settle(ctx) })
	select {
	case err := <-ended:
		return err
	case err := <-r.failed:
		cancel()
		return errors.Join(err, <-ended)
	}
}

// fail is told of a group that has failed.
func (r *replicating) fail(g *replica.Group, err error) {
	select {
	case r.failed <- fmt.Errorf("replicated state %s: %w", g.Name(), err):
	default:
	}
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
