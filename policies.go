package holdfast

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-go/holdfast/config"
	configdriver "github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/config/etcdconfig"
	"github.com/holdfast-go/holdfast/config/fileconfig"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/policy/policystore"
	"github.com/holdfast-go/holdfast/rest"
	"github.com/holdfast-go/holdfast/rpc"
)

const (
	fileScheme = "file"
	// noConfig is what says that there are no live settings.
	noConfig = "none"
)

// policies are those of code and file, with those of the live store over them.
type policies struct {
	live     *policy.Live
	file     map[string]policy.Service // of Settings.Policies
	follower *policystore.Follower
	store    *config.Store      // nil: there are no live settings
	eng      configdriver.Store // nil if it is the caller's, or there is none
}

// openPolicies fills s.policies and hands them to what the Service makes. It connects to nothing. registered is whether
// the registry's URL was any good: otherwise that is said already.
func (s *Service) openPolicies(registered bool) {
	c := &s.cfg
	p := &policies{live: policy.NewLive(nil)}
	s.policies = p
	base := s.basePolicies()
	p.follower = policystore.New(p.live, base, s.checkPolicy)
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
	if url := c.configURL(); engine == nil && url != "" && (registered || c.Settings.Config != "") {
		var err error
		if engine, err = openLive(c, url, c.Settings.Config == ""); err != nil {
			s.problem(err)
		}
		p.eng = engine
	}
	s.problem(c.Live.Validate())
	if engine != nil {
		p.store = config.New(engine, c.Live)
	}
}

// basePolicies are those of the file over those of code, without those that have problems.
func (s *Service) basePolicies() map[string]policy.Service {
	base := make(map[string]policy.Service)
	for name, of := range s.cfg.Policies {
		if err := of.Validate(); err != nil {
			s.problem(fmt.Errorf("policy of %s: %w", name, err))
			continue
		}
		base[name] = of
	}
	if path := s.cfg.Settings.Policies; path != "" {
		file, err := policy.Load(path)
		s.problem(err)
		s.policies.file = file
		for name, of := range file {
			base[name] = policy.Overlay(base[name], of)
		}
	}
	for name, of := range base {
		if err := s.checkPolicy(name, of); err != nil {
			s.problem(err)
			delete(base, name)
		}
	}
	return base
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

// checkPolicy says why a policy cannot be applied over what code says. It asks whatever clients and servers ask when they
// apply it, so that none refuses what another one has in force.
func (s *Service) checkPolicy(name string, of policy.Service) error {
	c := &s.cfg
	errs := []error{checkRPC(c.RPCClient, of.Calls), checkHTTP(c.HTTPClient, of.Calls)}
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

// checkRPC says why calls cannot go over the configuration of gRPC clients. Of the methods, all that either names count:
// what one says of a method goes over what the other says of it, or of all methods of its gRPC service.
func checkRPC(c rpc.ClientConfig, calls policy.Calls) error {
	over := rpc.ClientConfig{
		Policy: policy.Overlay(c.Policy, calls.Policy), Balance: policy.Overlay(c.Balance, calls.Balance), Methods: c.Methods,
	}
	errs := []error{over.Validate()}
	names := make(map[string]bool, len(calls.Methods)+len(c.Methods))
	for name := range c.Methods {
		names[name] = true
	}
	for name := range calls.Methods {
		names[name] = true
	}
	for name := range names {
		own, p := byMethod(c.Methods, name), over.Policy
		p = policy.Method{Timeout: own.Timeout, AttemptTimeout: own.AttemptTimeout, MaxAttempts: own.MaxAttempts, Hedge: own.Hedge}.Over(p)
		if err := byMethod(calls.Methods, name).Over(p).Validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// byMethod returns what is said of a method by its full name, or of all methods of its gRPC service.
func byMethod[T any](of map[string]T, name string) T {
	if v, ok := of[name]; ok {
		return v
	}
	return of[name[:strings.LastIndexByte(name, '/')+1]]
}

// checkHTTP says why calls cannot go over the configuration of HTTP clients.
func checkHTTP(c rest.ClientConfig, calls policy.Calls) error {
	over := policy.Overlay(policy.Calls{Policy: c.Policy, Balance: c.Balance, Methods: c.Methods}, calls)
	return rest.ClientConfig{Policy: over.Policy, Balance: over.Balance, Methods: over.Methods}.Validate()
}

// followPolicies applies what the live store has, for as long as ctx lasts.
func (s *Service) followPolicies(ctx context.Context) error {
	return s.policies.follower.Run(ctx, s.policies.store)
}

// Policies returns the policies in force, by service. They are those of Config.Policies, with those of
// Settings.Policies over them, and from Run on with those of the live store over both. It is for clients and servers of
// one's own: rpc.ClientConfig{Policies: svc.Policies()}.
func (s *Service) Policies() *policy.Live { return s.policies.live }

// Live returns the live settings for values of one's own (config.NewValue), or nil if there is no engine for them. Keys
// that begin with policystore.Prefix are the policies. It is closed with the Service.
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

// configURL is where the live settings are, "" if there are none.
func (c *Config) configURL() string {
	switch c.Settings.Config {
	case noConfig:
		return ""
	case "":
	default:
		return c.Settings.Config
	}
	if c.Registry != nil { // which has no URL
		return ""
	}
	url := ConfigURL(c.Settings.Registry)
	scheme, _, _ := strings.Cut(url, ":")
	if _, linked := opener[configdriver.Opener](c, scheme); !linked && scheme != etcdScheme {
		return "" // which Run logs
	}
	return url
}

// OpenLive opens the engine of live settings that a URL names, in one of the forms of Settings.Config, for programs that
// are no Service. It connects to nothing. The caller closes it. It is nil for "none".
func OpenLive(url string, insecure bool, drivers ...Driver) (configdriver.Store, error) {
	c := Config{Settings: Settings{Insecure: insecure}, Drivers: drivers}
	c.Etcd.Insecure = insecure
	return openLive(&c, url, false)
}

// openLive opens the engine at url; derived says that the registry is there, too.
func openLive(c *Config, url string, derived bool) (configdriver.Store, error) {
	if err := checkConfig(url); err != nil {
		return nil, fmt.Errorf("live settings: %q %w", redacted(url), err)
	}
	switch scheme, rest, _ := strings.Cut(url, ":"); scheme {
	case noConfig:
		return nil, nil //nolint:nilnil // as said
	case fileScheme:
		d, err := fileconfig.Open(fileconfig.Config{Dir: strings.TrimPrefix(rest, "//")})
		if err != nil { // not d: a nil *Driver would be a store that is not nil
			return nil, err
		}
		return d, nil
	case etcdScheme:
		cfg, err := liveEtcd(c, url, derived)
		if err != nil {
			return nil, err
		}
		d, err := etcdconfig.Open(cfg)
		if err != nil {
			return nil, err
		}
		return d, nil
	default:
		o, ok := opener[configdriver.Opener](c, scheme)
		err := notLinked(scheme, "config")
		if ok {
			err = o.CheckURL(url)
		}
		if err != nil {
			return nil, fmt.Errorf("live settings: %q %w", redacted(url), err)
		}
		return o.OpenStore(url, configdriver.OpenOptions{Insecure: c.Settings.Insecure, WrapDial: c.wrapDial})
	}
}

// liveEtcd is how etcd is used for live settings. Where they are the registry's, so is the client that code gave for it, and
// they are beside the prefix that code gave.
func liveEtcd(c *Config, url string, derived bool) (etcdconfig.Config, error) {
	where, err := etcdconfig.Parse(url)
	if err != nil {
		return etcdconfig.Config{}, err
	}
	cfg := etcdconfig.Config{
		Endpoints: where.Endpoints, Prefix: where.Prefix, TLS: c.Etcd.TLS, Insecure: c.Etcd.Insecure,
		Username: c.Etcd.Username, Password: c.Etcd.Password, Dial: c.Etcd.Dial,
	}
	if !derived {
		return cfg, nil
	}
	cfg.Client = c.Etcd.Client
	if own := strings.Trim(c.Etcd.Prefix, "/"); cfg.Prefix == "" && own != "" {
		cfg.Prefix = own + "-config"
	}
	return cfg, nil
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
