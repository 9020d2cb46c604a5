package policy

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Live is the policies in force in a process, for clients by the name they call and for servers by their own. All
// methods are safe for concurrent use; Service and Version cost no more than an atomic load and a map lookup, and
// allocate nothing. A nil *Live has no policies.
type Live struct {
	state atomic.Pointer[snapshot]

	mu sync.Mutex // held to change state
}

// snapshot is never changed once it is stored.
type snapshot struct {
	version  uint64
	services map[string]entry
}

type entry struct {
	service *Service
	version uint64
}

// NewLive returns a Live with these policies; nil is none.
func NewLive(services map[string]Service) *Live {
	l := &Live{}
	for name, s := range services {
		l.Set(name, s)
	}
	return l
}

// Service returns the policy of a service and its version, or nil and 0 if there is none. The version is another one
// after every change, so that what was derived from the policy can be kept until then. The policy is shared: it must
// not be changed.
func (l *Live) Service(name string) (*Service, uint64) {
	s := l.load()
	if s == nil {
		return nil, 0
	}
	e := s.services[name]
	return e.service, e.version
}

// Version grows with every change of any policy. It is 0 until there was one.
func (l *Live) Version() uint64 {
	s := l.load()
	if s == nil {
		return 0
	}
	return s.version
}

// Names returns the services that have a policy, sorted.
func (l *Live) Names() []string {
	s := l.load()
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.services))
}

// Set replaces the policy of a service, at once for all calls that begin. It does not validate it: Parse has done that,
// and for a policy made in code Service.Validate does. The caller must not change what s refers to afterwards.
func (l *Live) Set(name string, s Service) {
	l.change(func(version uint64, services map[string]entry) {
		services[name] = entry{service: &s, version: version}
	})
}

// Delete removes the policy of a service; the configuration of its clients and servers is in force again.
func (l *Live) Delete(name string) {
	l.change(func(_ uint64, services map[string]entry) { delete(services, name) })
}

func (l *Live) change(f func(version uint64, services map[string]entry)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := &snapshot{version: 1, services: make(map[string]entry)}
	if old := l.state.Load(); old != nil {
		next.version = old.version + 1
		maps.Copy(next.services, old.services)
	}
	f(next.version, next.services)
	l.state.Store(next)
}

func (l *Live) load() *snapshot {
	if l == nil {
		return nil
	}
	return l.state.Load()
}
