// Package policystore keeps policies among live settings and puts them in force in a process: a change is validated, laid
// over what code and file say, and handed to a [policy.Live]; one that is wrong is refused with its reason, and the one
// that was in force stays.
package policystore

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/policy"
)

// Prefix is what the keys of policies begin with among the live settings; the name of the service follows.
const Prefix = "policies/"

// Key returns the key of a service's policy.
func Key(service string) string { return Prefix + service }

// Service returns the service of a key; ok is false if it is not that of a policy.
func Service(key string) (service string, ok bool) {
	service, ok = strings.CutPrefix(key, Prefix)
	return service, ok && policy.ValidName(service)
}

// Follower keeps a policy.Live up to date. Its methods are for one goroutine.
type Follower struct {
	live  *policy.Live
	base  map[string]policy.Service
	check func(service string, p policy.Service) error
	inUse map[string]policy.Service // what live has
}

// New returns a Follower that has put base in force, which is what holds without a store. check says why a policy that is
// valid, by itself and over base, cannot be applied here; nil: any can. base must not be changed afterwards.
func New(live *policy.Live, base map[string]policy.Service, check func(service string, p policy.Service) error) *Follower {
	f := &Follower{live: live, base: base, check: check, inUse: make(map[string]policy.Service)}
	f.apply(base)
	return f
}

// Run applies what store has until ctx ends or the store is closed, and returns nil.
func (f *Follower) Run(ctx context.Context, store *config.Store) error {
	w := config.Follow(store, Prefix, f.decode)
	defer w.Stop()
	for {
		set, err := w.Next(ctx)
		if err != nil {
			return nil // there is no other error
		}
		next := maps.Clone(f.base)
		if next == nil {
			next = make(map[string]policy.Service)
		}
		for key, setting := range set.Settings {
			if setting.InForce {
				next[strings.TrimPrefix(key, Prefix)] = setting.Value
			}
		}
		f.apply(next)
	}
}

// decode returns a policy as it is over the base.
func (f *Follower) decode(key string, document []byte) (policy.Service, error) {
	name := strings.TrimPrefix(key, Prefix)
	p, err := policy.Parse(key, document)
	if err != nil {
		return policy.Service{}, err
	}
	p = policy.Overlay(f.base[name], p)
	if err = p.Validate(); err != nil {
		return p, fmt.Errorf("policy of %s over what file and code say of it: %w", name, err)
	}
	if f.check != nil {
		err = f.check(name, p)
	}
	return p, err
}

// apply puts next in force and all others out of force. What is the same is left alone, so that nobody derives anything
// from it again.
func (f *Follower) apply(next map[string]policy.Service) {
	for name := range f.inUse {
		if _, ok := next[name]; !ok {
			f.live.Delete(name)
			delete(f.inUse, name)
		}
	}
	for name, p := range next {
		if old, ok := f.inUse[name]; !ok || !reflect.DeepEqual(old, p) {
			f.inUse[name] = p
			f.live.Set(name, p)
		}
	}
}
