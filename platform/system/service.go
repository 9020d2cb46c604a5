package system

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-go/holdfast/internal/strictyaml"
	"github.com/holdfast-go/holdfast/policy"
)

var (
	label    = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
	instance = regexp.MustCompile(`-[0-9]+$`)
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// maxName keeps "<service>-<number>" within the 63 characters of a DNS label.
const maxName = 50

// reserved are names that mean something else where services are named.
var reserved = map[string]string{
	"control":   "it is the platform's own",
	"edge":      "drills and the console call the platform's own edge so",
	"queue":     "drills call the queue's engine so",
	"registry":  "drills call the registry's engine so",
	"localhost": "it is a host name already",
}

// set are the variables that the platform gives to every instance.
var set = []string{"HOLDFAST_REGISTRY", "HOLDFAST_INSTANCE", "HOLDFAST_GRPC_ADDR", "HOLDFAST_HTTP_ADDR", "HOLDFAST_DATA_DIR", "HOLDFAST_POLICIES", "HOLDFAST_QUEUE", "HOLDFAST_AGENT", "HOLDFAST_CLOCKS"}

func (p *parser) system(n *yaml.Node) {
	var members, services *yaml.Node
	found := p.Mapping(n, "the file", []strictyaml.Field{
		{Name: "system", Read: func(v *yaml.Node) { p.sys.Name = p.name(v, "system") }},
		{Name: "control", Read: func(v *yaml.Node) { members = p.control(v) }},
		{Name: "registry", Read: func(v *yaml.Node) { p.sys.Registry = p.registry(v) }},
		{Name: "queue", Read: func(v *yaml.Node) { p.sys.Queue = p.queue(v) }},
		{Name: "policies", Read: func(v *yaml.Node) { p.policiesAt(v) }},
		{Name: "services", Read: func(v *yaml.Node) { services = v }},
	})
	if n.Kind != yaml.MappingNode {
		return
	}
	if found["system"] == nil {
		p.Problem(n, "no field system: the system needs a name")
	}
	switch {
	case found["registry"] == nil && members == nil:
		p.sys.Control.Members = DefaultMembers
	case found["registry"] != nil && members != nil:
		p.Problem(members, "members: a system with a registry of its own has no control members; remove one of the two")
	}
	if services == nil {
		p.Problem(n, "no field services: the system has nothing to run")
		return
	}
	p.Pairs(services, "services", p.service)
	switch n := len(p.sys.Services); {
	case n == 0 && services.Kind == yaml.MappingNode && len(services.Content) == 0:
		p.Problem(services, "services: the system has nothing to run")
	case n > MaxServices:
		p.Problem(services, "services: %d are more than %d", n, MaxServices)
		return // the checks below are not meant for so many
	}
	p.checkAddrs()
	p.checkNeeds()
	p.checkLags()
}

// control reads the control section and returns the node of members, nil if there is none.
func (p *parser) control(n *yaml.Node) *yaml.Node {
	return p.Mapping(n, "control", []strictyaml.Field{{Name: "members", Read: func(v *yaml.Node) {
		m, ok := p.Integer(v, "members", 1, 5)
		if ok && m%2 == 0 {
			p.Problem(v, "members: %d survive the loss of no more than %d do; use 1, 3 or 5", m, m-1)
		}
		p.sys.Control.Members = m
	}}})["members"]
}

func (p *parser) service(key, n *yaml.Node) {
	svc := Service{Name: p.name(key, "service"), Replicas: 1}
	if svc.Name == "" {
		svc.Name = key.Value // so that it is not unknown where it is needed
	}
	var run, addr *yaml.Node
	var needs []*yaml.Node
	found := p.Mapping(n, strictyaml.Bare(key.Value), []strictyaml.Field{
		{Name: "run", Read: func(v *yaml.Node) { svc.Run, run = p.run(v), v }},
		{Name: "replicas", Read: func(v *yaml.Node) { svc.Replicas, _ = p.Integer(v, "replicas", 0, MaxReplicas) }},
		{Name: "http", Read: func(v *yaml.Node) { svc.HTTP, addr = p.http(v), v }},
		{Name: "idempotency", Read: func(v *yaml.Node) { svc.Idempotency = p.flag(v, "idempotency") }},
		{Name: "env", Read: func(v *yaml.Node) { svc.Env = p.env(v) }},
		{Name: "policy", Read: func(v *yaml.Node) { p.policy(key, v) }},
		{Name: "needs", Read: func(v *yaml.Node) { svc.Needs, needs = p.list(v) }},
		{Name: "serves", Read: func(v *yaml.Node) { svc.Serves = p.serves(v) }},
		{Name: "state", Read: func(v *yaml.Node) { svc.State = p.state(v) }},
		{Name: "autoscale", Read: func(v *yaml.Node) { svc.Autoscale = p.autoscale(svc.Name, v) }},
	})
	if v := found["serves"]; v != nil && svc.Serves != nil && svc.HTTP != "" && !slices.Contains(svc.Serves, HTTP) {
		p.Problem(v, "serves: http is missing, although there is an address for it")
	}
	p.checkScaling(&svc, found["autoscale"], found["replicas"])
	if n.Kind == yaml.MappingNode && found["run"] == nil {
		p.Problem(key, "%s: no field run: name a Go package directory or a command line", strictyaml.Bare(key.Value))
	}
	if v := found["idempotency"]; v != nil && n.Kind == yaml.MappingNode && found["http"] == nil {
		p.Problem(v, "idempotency: is about the requests that come in at http, which is not given")
	}
	p.sys.Services = append(p.sys.Services, svc)
	p.names = append(p.names, key)
	p.runs = append(p.runs, run)
	p.addrs = append(p.addrs, addr)
	p.needs = append(p.needs, needs)
}

// flag reads true or false.
func (p *parser) flag(n *yaml.Node, what string) bool {
	var v bool
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&v) != nil {
		p.Problem(n, "%s: want true or false, got %s", what, strictyaml.Kind(n))
	}
	return v
}

// name reads the name of the system or of a service.
func (p *parser) name(n *yaml.Node, what string) string {
	s, ok := p.Text(n, what)
	switch {
	case !ok:
		return ""
	case len(s) > maxName:
		p.Problem(n, "%s: the name %s is longer than %d characters", what, strictyaml.Quote(s), maxName)
	case !label.MatchString(s):
		hint := ""
		if near := slug(s); near != "" {
			hint = "; " + near + " would do"
		}
		p.Problem(n, "%s: bad name %s: lower-case letters, digits and dashes, starting with a letter%s", what, strictyaml.Quote(s), hint)
	case what != "service":
		return s
	case reserved[s] != "":
		p.Problem(n, "%s: the name %s cannot be used: %s", what, s, reserved[s])
	case instance.MatchString(s):
		p.Problem(n, "%s: the name %s looks like an instance (%s number %s)", what, s,
			s[:strings.LastIndexByte(s, '-')], s[strings.LastIndexByte(s, '-')+1:])
	default:
		return s
	}
	return ""
}

// slug makes a legal name of what somebody wrote, "" if that is not obvious.
func slug(s string) string {
	s = strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r == '_' || r == ' ' || r == '.':
			return '-'
		}
		return r
	}, s), "-")
	if !label.MatchString(s) || instance.MatchString(s) || reserved[s] != "" {
		return ""
	}
	return s
}

// policy reads the policy of a service.
func (p *parser) policy(service, n *yaml.Node) {
	of := policy.Decode(&p.Parser, n)
	if p.sys.Policies == nil {
		p.sys.Policies = make(map[string]policy.Service)
	}
	p.sys.Policies[service.Value] = of
	p.place(service.Value, service)
}

// policiesAt reads where other policies are. Load reads these.
func (p *parser) policiesAt(n *yaml.Node) {
	s, ok := p.Text(n, "policies")
	switch {
	case !ok:
	case strings.TrimSpace(s) == "":
		p.Problem(n, "policies: is empty; name a file, or a directory with a file for each service")
	default:
		p.policies = s
		p.place("", n)
	}
}

func (p *parser) place(service string, n *yaml.Node) {
	if p.at == nil {
		p.at = make(map[string]*yaml.Node)
	}
	p.at[service] = n
}

func (p *parser) run(n *yaml.Node) string {
	s, ok := p.Text(n, "run")
	if !ok {
		return ""
	}
	words, err := split(s)
	switch {
	case err != nil:
		p.Problem(n, "run: %v in %s", err, strictyaml.Quote(s))
	case len(words) == 0 || words[0] == "":
		p.Problem(n, "run: is empty; name a Go package directory or a command line")
	}
	return s
}

func (p *parser) http(n *yaml.Node) string {
	s, ok := p.Text(n, "http")
	if !ok {
		return ""
	}
	if message := addrProblem(s); message != "" {
		p.Problem(n, "http: bad address %s: %s", strictyaml.Quote(s), message)
		return ""
	}
	return s
}

// addrProblem says what is wrong with a host:port to listen on, "" if nothing is.
func addrProblem(s string) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "want host:port, such as 127.0.0.1:8080"
	}
	if message := portProblem(port); message != "" {
		return message
	}
	if host == "" {
		return "no host; write 127.0.0.1:" + port + ", or 0.0.0.0:" + port + " to be reached from everywhere"
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		return "the host has to be an IP address or localhost"
	}
	return ""
}

func portProblem(port string) string {
	if v, err := strconv.Atoi(port); err != nil || v < 1 || v > 65535 || strconv.Itoa(v) != port {
		return "the port has to be a number between 1 and 65535"
	}
	return ""
}

// engines are the schemes of outside registries. What stands behind the addresses is for the engine's driver to check.
var engines = []string{"etcd", "consul"}

// registry reads etcd://host:port,host:port[/prefix] and consul://host:port[/datacenter][?options].
func (p *parser) registry(n *yaml.Node) string {
	s, ok := p.Text(n, "registry")
	if !ok {
		return ""
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !slices.Contains(engines, scheme) {
		p.Problem(n, "registry: bad URL %s: want etcd://host:port,host:port or consul://host:port", strictyaml.Quote(withoutSecrets(s)))
		return ""
	}
	rest, options, _ := strings.Cut(rest, "?")
	hosts, _, _ := strings.Cut(rest, "/")
	query, err := url.ParseQuery(options)
	switch { // none of the messages repeats what could be a secret
	case strings.Contains(hosts, "@") || query.Has("token"):
		p.Problem(n, "registry: the URL has credentials in it, which do not belong into a file, nor into the environment of every process")
		return ""
	case err != nil:
		p.Problem(n, "registry: the URL's options cannot be read")
		return ""
	}
	for _, addr := range strings.Split(hosts, ",") {
		host, port, err := net.SplitHostPort(addr)
		switch {
		case err != nil || host == "":
			p.Problem(n, "registry: bad address %s: want host:port", strictyaml.Quote(addr))
		case portProblem(port) != "":
			p.Problem(n, "registry: bad address %s: %s", strictyaml.Quote(addr), portProblem(port))
		}
	}
	return s
}

// withoutSecrets is a URL without its options, and without all of it but the scheme if there are credentials in it.
func withoutSecrets(url string) string {
	url, _, _ = strings.Cut(url, "?")
	if scheme, rest, ok := strings.Cut(url, "://"); ok && strings.Contains(rest, "@") {
		return scheme + "://…"
	}
	return url
}

func (p *parser) env(n *yaml.Node) map[string]string {
	env := make(map[string]string)
	p.Pairs(n, "env", func(key, value *yaml.Node) {
		switch {
		case !variable.MatchString(key.Value):
			p.Problem(key, "env: bad name %s: letters, digits and _, not starting with a digit", strictyaml.Quote(key.Value))
		case slices.Contains(set, key.Value):
			p.Problem(key, "env: %s is set by the platform", key.Value)
		case value.Kind != yaml.ScalarNode:
			p.Problem(value, "env: %s: want text, got %s", key.Value, strictyaml.Kind(value))
		case value.ShortTag() == "!!null":
			p.Problem(value, `env: %s has no value; write "" for an empty one`, key.Value)
		case strings.ContainsRune(value.Value, 0):
			p.Problem(value, "env: %s contains a NUL", key.Value)
		default:
			env[key.Value] = value.Value // as written: 8080 and true are text in an environment
		}
	})
	return env
}

// list reads a list of names. What they name is checked later, when all services are known.
func (p *parser) list(n *yaml.Node) (names []string, nodes []*yaml.Node) {
	if n.Kind != yaml.SequenceNode || n.ShortTag() != "!!seq" {
		hint := ""
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
			hint = "; write [" + n.Value + "]"
		}
		p.Problem(n, "needs: want a list, got %s%s", strictyaml.Kind(n), hint)
		return nil, nil
	}
	for _, item := range n.Content {
		name, ok := p.Text(item, "needs")
		switch {
		case !ok:
		case slices.Contains(names, name):
			p.Problem(item, "needs: %s is in the list twice", strictyaml.Bare(name))
		default:
			names, nodes = append(names, name), append(nodes, item)
		}
	}
	return names, nodes
}

// checkAddrs finds services that would listen on the same address.
func (p *parser) checkAddrs() {
	for i, svc := range p.sys.Services {
		for j, other := range p.sys.Services[:i] {
			if svc.HTTP != "" && other.HTTP != "" && clash(svc.HTTP, other.HTTP) {
				p.Problem(p.addrs[i], "http: %s is taken by %s on line %d", svc.HTTP, strictyaml.Bare(other.Name), p.addrs[j].Line)
				break
			}
		}
	}
}

// clash reports whether only one of two valid addresses can be listened on.
func clash(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	ipA, ipB := addrOf(hostA), addrOf(hostB)
	return portA == portB && (ipA == ipB || ipA.IsUnspecified() || ipB.IsUnspecified())
}

func addrOf(host string) netip.Addr {
	if host == "localhost" {
		host = "127.0.0.1"
	}
	addr, _ := netip.ParseAddr(host)
	return addr.Unmap()
}

// checkNeeds finds unknown names and cycles in what services need.
func (p *parser) checkNeeds() {
	all := make([]string, len(p.sys.Services))
	for i, svc := range p.sys.Services {
		all[i] = svc.Name
	}
	for i, svc := range p.sys.Services {
		for j, need := range svc.Needs {
			if slices.Contains(all, need) {
				continue
			}
			hint := ""
			if near := strictyaml.Nearest(need, all); near != "" {
				hint = "; did you mean " + near + "?"
			}
			p.Problem(p.needs[i][j], "needs: no service %s%s", strictyaml.Bare(need), hint)
		}
	}
	_, cycles := order(p.sys.Services)
	for _, cycle := range cycles {
		i := slices.Index(all, cycle[len(cycle)-1])
		j := slices.Index(p.sys.Services[i].Needs, cycle[0])
		if len(cycle) == 1 {
			p.Problem(p.needs[i][j], "needs: %s needs itself", cycle[0])
			continue
		}
		p.Problem(p.needs[i][j], "needs: a circle: %s", describe(cycle))
	}
}
