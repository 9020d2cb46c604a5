package system

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
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
	"localhost": "it is a host name already",
}

// set are the variables that the platform gives to every instance.
var set = []string{"HOLDFAST_REGISTRY", "HOLDFAST_INSTANCE", "HOLDFAST_GRPC_ADDR", "HOLDFAST_HTTP_ADDR", "HOLDFAST_DATA_DIR"}

func (p *parser) system(n *yaml.Node) {
	var members, services *yaml.Node
	found := p.mapping(n, "the file", []field{
		{"system", func(v *yaml.Node) { p.sys.Name = p.name(v, "system") }},
		{"control", func(v *yaml.Node) { members = p.control(v) }},
		{"registry", func(v *yaml.Node) { p.sys.Registry = p.registry(v) }},
		{"services", func(v *yaml.Node) { services = v }},
	})
	if n.Kind != yaml.MappingNode {
		return
	}
	if found["system"] == nil {
		p.problem(n, "no field system: the system needs a name")
	}
	switch {
	case found["registry"] == nil && members == nil:
		p.sys.Control.Members = DefaultMembers
	case found["registry"] != nil && members != nil:
		p.problem(members, "members: a system with a registry of its own has no control members; remove one of the two")
	}
	if services == nil {
		p.problem(n, "no field services: the system has nothing to run")
		return
	}
	p.pairs(services, "services", p.service)
	switch n := len(p.sys.Services); {
	case n == 0 && services.Kind == yaml.MappingNode && len(services.Content) == 0:
		p.problem(services, "services: the system has nothing to run")
	case n > MaxServices:
		p.problem(services, "services: %d are more than %d", n, MaxServices)
		return // the checks below are not meant for so many
	}
	p.checkAddrs()
	p.checkNeeds()
}

// control reads the control section and returns the node of members, nil if there is none.
func (p *parser) control(n *yaml.Node) *yaml.Node {
	return p.mapping(n, "control", []field{{"members", func(v *yaml.Node) {
		m, ok := p.integer(v, "members", 1, 5)
		if ok && m%2 == 0 {
			p.problem(v, "members: %d survive the loss of no more than %d do; use 1, 3 or 5", m, m-1)
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
	found := p.mapping(n, bare(key.Value), []field{
		{"run", func(v *yaml.Node) { svc.Run, run = p.run(v), v }},
		{"replicas", func(v *yaml.Node) { svc.Replicas, _ = p.integer(v, "replicas", 0, MaxReplicas) }},
		{"http", func(v *yaml.Node) { svc.HTTP, addr = p.http(v), v }},
		{"env", func(v *yaml.Node) { svc.Env = p.env(v) }},
		{"needs", func(v *yaml.Node) { svc.Needs, needs = p.list(v) }},
	})
	if n.Kind == yaml.MappingNode && found["run"] == nil {
		p.problem(key, "%s: no field run: name a Go package directory or a command line", bare(key.Value))
	}
	p.sys.Services = append(p.sys.Services, svc)
	p.names = append(p.names, key)
	p.runs = append(p.runs, run)
	p.addrs = append(p.addrs, addr)
	p.needs = append(p.needs, needs)
}

// name reads the name of the system or of a service.
func (p *parser) name(n *yaml.Node, what string) string {
	s, ok := p.text(n, what)
	switch {
	case !ok:
		return ""
	case len(s) > maxName:
		p.problem(n, "%s: the name %s is longer than %d characters", what, quote(s), maxName)
	case !label.MatchString(s):
		hint := ""
		if near := slug(s); near != "" {
			hint = "; " + near + " would do"
		}
		p.problem(n, "%s: bad name %s: lower-case letters, digits and dashes, starting with a letter%s", what, quote(s), hint)
	case what != "service":
		return s
	case reserved[s] != "":
		p.problem(n, "%s: the name %s cannot be used: %s", what, s, reserved[s])
	case instance.MatchString(s):
		p.problem(n, "%s: the name %s looks like an instance (%s number %s)", what, s,
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

func (p *parser) run(n *yaml.Node) string {
	s, ok := p.text(n, "run")
	if !ok {
		return ""
	}
	words, err := split(s)
	switch {
	case err != nil:
		p.problem(n, "run: %v in %s", err, quote(s))
	case len(words) == 0 || words[0] == "":
		p.problem(n, "run: is empty; name a Go package directory or a command line")
	}
	return s
}

func (p *parser) http(n *yaml.Node) string {
	s, ok := p.text(n, "http")
	if !ok {
		return ""
	}
	if message := addrProblem(s); message != "" {
		p.problem(n, "http: bad address %s: %s", quote(s), message)
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

// registry reads etcd://host:port,host:port[/prefix].
func (p *parser) registry(n *yaml.Node) string {
	s, ok := p.text(n, "registry")
	if !ok {
		return ""
	}
	hosts, ok := strings.CutPrefix(s, "etcd://")
	if !ok {
		p.problem(n, "registry: bad URL %s: want etcd://host:port,host:port", quote(s))
		return ""
	}
	hosts, _, _ = strings.Cut(hosts, "/")
	if strings.Contains(hosts, "@") { // which the message does not repeat
		p.problem(n, "registry: the URL has credentials in it, which do not belong into a file, nor into the environment of every process")
		return ""
	}
	for _, addr := range strings.Split(hosts, ",") {
		host, port, err := net.SplitHostPort(addr)
		switch {
		case err != nil || host == "":
			p.problem(n, "registry: bad address %s: want host:port", quote(addr))
		case portProblem(port) != "":
			p.problem(n, "registry: bad address %s: %s", quote(addr), portProblem(port))
		}
	}
	return s
}

func (p *parser) env(n *yaml.Node) map[string]string {
	env := make(map[string]string)
	p.pairs(n, "env", func(key, value *yaml.Node) {
		switch {
		case !variable.MatchString(key.Value):
			p.problem(key, "env: bad name %s: letters, digits and _, not starting with a digit", quote(key.Value))
		case slices.Contains(set, key.Value):
			p.problem(key, "env: %s is set by the platform", key.Value)
		case value.Kind != yaml.ScalarNode:
			p.problem(value, "env: %s: want text, got %s", key.Value, kind(value))
		case value.ShortTag() == "!!null":
			p.problem(value, `env: %s has no value; write "" for an empty one`, key.Value)
		case strings.ContainsRune(value.Value, 0):
			p.problem(value, "env: %s contains a NUL", key.Value)
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
		p.problem(n, "needs: want a list, got %s%s", kind(n), hint)
		return nil, nil
	}
	for _, item := range n.Content {
		name, ok := p.text(item, "needs")
		switch {
		case !ok:
		case slices.Contains(names, name):
			p.problem(item, "needs: %s is in the list twice", bare(name))
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
				p.problem(p.addrs[i], "http: %s is taken by %s on line %d", svc.HTTP, bare(other.Name), p.addrs[j].Line)
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
			if near := nearest(need, all); near != "" {
				hint = "; did you mean " + near + "?"
			}
			p.problem(p.needs[i][j], "needs: no service %s%s", bare(need), hint)
		}
	}
	_, cycles := order(p.sys.Services)
	for _, cycle := range cycles {
		i := slices.Index(all, cycle[len(cycle)-1])
		j := slices.Index(p.sys.Services[i].Needs, cycle[0])
		if len(cycle) == 1 {
			p.problem(p.needs[i][j], "needs: %s needs itself", cycle[0])
			continue
		}
		p.problem(p.needs[i][j], "needs: a circle: %s", describe(cycle))
	}
}
