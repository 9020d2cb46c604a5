package holdfast

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/holdfast-go/holdfast/config"
	configdriver "github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/config/etcdconfig"
	"github.com/holdfast-go/holdfast/config/fileconfig"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/registry"
)

const (
	// PolicyPrefix is what the keys of policies begin with among the live settings; the name of the service follows.
	PolicyPrefix = "policies/"

	fileScheme = "file"
	// noConfig is what says that there are no live settings.
	noConfig = "none"
)

// policies are those of code and file, with those of the live store over them.
type policies struct {
	live  *policy.Live
	base  map[string]policy.Service // of code and file
	inUse map[string]policy.Service // what live has
	store *config.Store             // nil: there are no live settings
	eng   configdriver.Store        // nil if it is the caller's, or there is none
}

// openPolicies fills s.policies and hands them to what the Service makes. It connects to nothing.
func (s *Service) openPolicies() {
	c := &s.cfg
	p := &policies{live: policy.NewLive(nil), base: maps.Clone(c.Policies), inUse: make(map[string]policy.Service)}
	s.policies = p
	if p.base == nil {
		p.base = make(map[string]policy.Service)
	}
	for name, of := range c.Policies {
		if err := of.Validate(); err != nil {
			s.problem(fmt.Errorf("policy of %s: %w", name, err))
		}
	}
	if path := c.Settings.Policies; path != "" {
		file, err := policy.Load(path)
		if err != nil {
			s.problem(err)
		}
		for name, of := range file {
			p.base[name] = policy.Overlay(p.base[name], of)
		}
	}
	if err := errors.Join(s.problems...); err == nil { // otherwise some of what follows is said twice
		for name, of := range p.base {
			s.problem(s.checkPolicy(name, of))
		}
	}
	for name, of := range p.base {
		p.set(name, of)
	}
	for _, to := range []**policy.Live{&c.RPCServer.Policies, &c.RPCClient.Policies, &c.HTTPServer.Policies, &c.HTTPClient.Policies} {
		if *to == nil {
			*to = p.live
		}
	}
	for _, to := range []*string{&c.RPCServer.Service, &c.HTTPServer.Service} {
		if *to == "" {
			*to = s.name
		}
	}
	for _, to := range []*string{&c.RPCClient.Balance.Zone, &c.HTTPClient.Balance.Zone} {
		if *to == "" {
			*to = c.Settings.Zone
		}
	}
	engine := c.Store
	if engine == nil {
		var err error
		if engine, err = openStore(c); err != nil {
			s.problem(err)
		}
		p.eng = engine
	}
	s.problem(c.Live.Validate())
	if engine != nil {
		p.store = config.New(engine, c.Live)
	}
}

func (p *policies) close() error {
	var errs []error
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	if p.eng != nil {
		errs = append(errs, p.eng.Close())
	}
	return errors.Join(errs...)
}

// checkPolicy says why a policy cannot be applied over what code says.
func (s *Service) checkPolicy(name string, of policy.Service) error {
	c := &s.cfg
	errs := []error{
		policy.Overlay(c.RPCClient.Policy, of.Calls.Policy).Validate(),
		policy.Overlay(c.RPCClient.Balance, of.Calls.Balance).Validate(),
		policy.Overlay(c.HTTPClient.Policy, of.Calls.Policy).Validate(),
	}
	if name == s.name {
		errs = append(errs,
			policy.Overlay(c.RPCServer.Admission, of.Serves.Admission).Validate(),
			policy.Overlay(c.HTTPServer.Admission, of.Serves.Admission).Validate())
	}
	seen := make(map[string]bool)
	var out []error
	for _, err := range errs {
		if err != nil && !seen[err.Error()] {
			seen[err.Error()] = true
			out = append(out, err)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return fmt.Errorf("policy of %s over what code says: %w", name, errors.Join(out...))
}

// followPolicies applies what the live store has, for as long as ctx lasts.
func (s *Service) followPolicies(ctx context.Context) error {
	p := s.policies
	w := config.Follow(p.store, PolicyPrefix, func(key string, value []byte) (policy.Service, error) {
		name := strings.TrimPrefix(key, PolicyPrefix)
		if err := registry.ValidateService(name); err != nil {
			return policy.Service{}, err
		}
		of, err := policy.Parse(key, value)
		if err == nil {
			of = policy.Overlay(p.base[name], of)
			err = s.checkPolicy(name, of)
		}
		return of, err
	})
	defer w.Stop()
	for {
		set, err := w.Next(ctx)
		if err != nil {
			return nil //nolint:nilerr // ctx has ended, or the Service is closed
		}
		p.apply(set)
	}
}

// apply puts in force what is in set, and what is no longer in it out of force.
func (p *policies) apply(set config.Set[policy.Service]) {
	next := maps.Clone(p.base)
	for key, setting := range set.Settings {
		if setting.InForce {
			next[strings.TrimPrefix(key, PolicyPrefix)] = setting.Value
		}
	}
	for name := range p.inUse {
		if _, ok := next[name]; !ok {
			p.live.Delete(name)
			delete(p.inUse, name)
		}
	}
	for name, of := range next {
		p.set(name, of)
	}
}

// set leaves alone what is the same, so that nobody derives anything from it again.
func (p *policies) set(name string, of policy.Service) {
	if old, ok := p.inUse[name]; !ok || !reflect.DeepEqual(old, of) {
		p.inUse[name] = of
		p.live.Set(name, of)
	}
}

// Policies returns the policies in force, by service. They are those of Config.Policies, with those of
// Settings.Policies over them, and from Run on with those of the live store over both. It is for clients and servers of
// one's own: rpc.ClientConfig{Policies: svc.Policies()}.
func (s *Service) Policies() *policy.Live { return s.policies.live }

// Live returns the live settings for values of one's own (config.NewValue), or nil if there is no engine for them. Keys
// that begin with PolicyPrefix are the policies. It is closed with the Service.
func (s *Service) Live() *config.Store { return s.policies.store }

// ConfigURL returns where the live settings are that belong to a registry, given the registry's URL; "" if it is an
// engine that keeps none. It is what Settings.Config defaults to.
func ConfigURL(registry string) string {
	switch scheme, _, _ := strings.Cut(registry, ":"); scheme {
	case "", staticScheme:
		return ""
	case etcdScheme:
		return etcdconfig.OfRegistry(registry)
	default:
		return registry
	}
}

// openStore opens what c.Settings.Config names, or what belongs to the registry. It connects to nothing. A nil Store
// is none.
func openStore(c *Config) (configdriver.Store, error) {
	url, said := c.Settings.Config, true
	if url == noConfig {
		return nil, nil //nolint:nilnil // as said
	}
	if url == "" {
		if c.Registry != nil {
			return nil, nil //nolint:nilnil // it has no URL
		}
		url, said = ConfigURL(c.Settings.Registry), false
	}
	if url == "" || !said && checkConfig(url) != nil { // what is wrong is the registry's URL, and is said of that
		return nil, nil //nolint:nilnil // as said
	}
	if err := checkConfig(url); err != nil {
		return nil, fmt.Errorf("live settings: %q %w", redacted(url), err)
	}
	switch scheme, rest, _ := strings.Cut(url, ":"); scheme {
	case fileScheme:
		d, err := fileconfig.Open(fileconfig.Config{Dir: strings.TrimPrefix(rest, "//")})
		if err != nil { // not d: a nil *Driver would be a store that is not nil
			return nil, err
		}
		return d, nil
	case etcdScheme:
		return openEtcdStore(c, url)
	default:
		o, ok := opener[configdriver.Opener](c, scheme)
		if !ok && !said {
			return nil, nil //nolint:nilnil // which Run logs
		}
		err := notLinked(scheme, "config")
		if ok {
			err = o.CheckURL(url)
		}
		if err != nil {
			return nil, fmt.Errorf("live settings: %q %w", redacted(url), err)
		}
		return o.OpenStore(url, configdriver.OpenOptions{Insecure: c.Settings.Insecure})
	}
}

func openEtcdStore(c *Config, url string) (configdriver.Store, error) {
	where, err := etcdconfig.Parse(url)
	if err != nil {
		return nil, err
	}
	d, err := etcdconfig.Open(etcdconfig.Config{
		Endpoints: where.Endpoints, Prefix: where.Prefix, TLS: c.Etcd.TLS, Insecure: c.Etcd.Insecure,
		Username: c.Etcd.Username, Password: c.Etcd.Password,
	})
	if err != nil { // not d: a nil *Driver would be a store that is not nil
		return nil, err
	}
	return d, nil
}

// checkConfig reports what is wrong with the URL of live settings. Whether another engine is linked, and what it says of
// the URL, is known when the options are.
func checkConfig(url string) error {
	scheme, rest, ok := strings.Cut(url, ":")
	switch {
	case url == noConfig:
		return nil
	case !ok || !isScheme(scheme):
		return errors.New("is not a URL such as etcd://127.0.0.1:2379 or file:///etc/holdfast, nor none")
	case scheme == etcdScheme:
		_, err := etcdconfig.Parse(url)
		return err
	case scheme == fileScheme && strings.TrimPrefix(rest, "//") == "":
		return errors.New("names no directory")
	}
	return nil
}
