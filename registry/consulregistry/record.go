package consulregistry

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// The keys of a service's Meta that are not the service's own. Zone and version are called what everybody calls them.
const (
	metaZone    = "zone"
	metaVersion = "version"
	metaOurs    = "holdfast-" // what begins so is Holdfast's
	metaOwner   = metaOurs + "owner"
	metaLease   = metaOurs + "lease"     // which registration wrote it, and the number of the write: LEASE.NUMBER
	metaMore    = metaOurs + "metadata-" // NUMBER: what Consul would not take as Meta, as JSON, in pieces
)

// What Consul takes.
const (
	maxMetaPairs = 64
	maxMetaKey   = 128
	maxMetaValue = 512
	maxWeight    = 65535
)

// maxEndpoints bounds what is taken from one service.
const maxEndpoints = 16

const (
	passing  = "passing"
	warning  = "warning"
	critical = "critical"

	serviceMaintenance = "_service_maintenance:"
	nodeMaintenance    = "_node_maintenance"
)

// address is one of a service's TaggedAddresses.
type address struct {
	Address string
	Port    int
}

type weights struct{ Passing, Warning int }

// definition is what an agent is told to register.
type definition struct {
	ID, Name        string
	Address         string
	Port            int
	Tags            []string
	TaggedAddresses map[string]address
	Meta            map[string]string
	Weights         weights
	Check           *checkDefinition
}

type checkDefinition struct {
	CheckID, Name, Notes string
	TTL, Status          string

	DeregisterCriticalServiceAfter string
}

// entry is one element of what /v1/health/service answers.
type entry struct {
	Node    node
	Service service
	Checks  []check
}

type node struct{ Node, Address string }

type service struct {
	ID, Service     string
	Tags            []string
	Address         string
	Port            int
	Ports           []port // of Consul 1.22 and later, in place of Port
	TaggedAddresses map[string]address
	Meta            map[string]string
	Weights         weights
	ModifyIndex     uint64
}

type port struct {
	Name    string
	Port    int
	Default bool
}

type check struct{ CheckID, Status string }

// written says which write of which registration a record is.
type written struct {
	lease  string
	number int
}

func (w written) String() string { return w.lease + "." + strconv.Itoa(w.number) }

func parseWritten(s string) (written, error) {
	lease, number, ok := strings.Cut(s, ".")
	n, err := strconv.Atoi(number)
	if !ok || lease == "" || err != nil || n < 0 {
		return written{}, fmt.Errorf("decode: %s %q", metaLease, s)
	}
	return written{lease, n}, nil
}

// serviceID is the ID in Consul, where IDs of all services of an agent are apart. A name has no ':' in it.
func serviceID(name, id string) string { return name + ":" + id }

// encode makes what the agent is told, without the check. The address that plain tools see is the gRPC endpoint if there
// is one, else the HTTP one, else the first by name; each endpoint is a tagged address, and its protocol is a tag.
func encode(name string, rec driver.Record, w written) (definition, error) {
	d := definition{
		ID: serviceID(name, rec.ID), Name: name, TaggedAddresses: make(map[string]address, len(rec.Endpoints)),
		Weights: weights{Passing: max(1, rec.Weight), Warning: 1},
	}
	if rec.Weight > maxWeight || rec.Weight < 0 {
		return d, fmt.Errorf("encode: weight %d: Consul has 1 to %d", rec.Weight, maxWeight)
	}
	for _, protocol := range slices.Sorted(maps.Keys(rec.Endpoints)) {
		if reservedAddress(protocol) || protocol == "" {
			return d, fmt.Errorf("encode: protocol %q is the name of an address of Consul's own", protocol)
		}
		host, port, err := net.SplitHostPort(rec.Endpoints[protocol])
		if err != nil {
			return d, fmt.Errorf("encode: endpoint %s: %w", protocol, err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || host == "" {
			return d, fmt.Errorf("encode: endpoint %s %q: not HOST:PORT with a number", protocol, rec.Endpoints[protocol])
		}
		d.TaggedAddresses[protocol] = address{host, int(n)}
		d.Tags = append(d.Tags, protocol)
	}
	if len(d.Tags) == 0 {
		return d, errors.New("encode: no endpoint")
	}
	first := d.TaggedAddresses[mainProtocol(d.Tags)]
	d.Address, d.Port = first.Address, first.Port
	var err error
	d.Meta, err = encodeMeta(rec, w)
	return d, err
}

func mainProtocol(sorted []string) string {
	for _, p := range []string{"grpc", "http"} {
		if slices.Contains(sorted, p) {
			return p
		}
	}
	return sorted[0]
}

// reservedAddress reports whether a tagged address of that name is not an endpoint: Consul adds those.
func reservedAddress(name string) bool {
	switch name {
	case "lan", "wan", "lan_ipv4", "lan_ipv6", "wan_ipv4", "wan_ipv6", "virtual":
		return true
	}
	return strings.HasPrefix(name, "consul-")
}

// encodeMeta keeps the service's own metadata as plain Meta as far as Consul takes it.
func encodeMeta(rec driver.Record, w written) (map[string]string, error) {
	meta := map[string]string{metaOwner: rec.Owner, metaLease: w.String()}
	if len(rec.Owner) > maxMetaValue || len(rec.Zone) > maxMetaValue || len(rec.Version) > maxMetaValue {
		return nil, fmt.Errorf("encode: zone, version or owner is longer than the %d bytes that Consul takes", maxMetaValue)
	}
	if rec.Zone != "" {
		meta[metaZone] = rec.Zone
	}
	if rec.Version != "" {
		meta[metaVersion] = rec.Version
	}
	more := make(map[string]string)
	for k, v := range rec.Metadata {
		if !plainMeta(k, v) {
			more[k] = v
		}
	}
	pieces, err := split(more)
	if err != nil {
		return nil, err
	}
	if len(meta)+len(pieces)+len(rec.Metadata)-len(more) > maxMetaPairs {
		more = rec.Metadata
		if pieces, err = split(more); err != nil {
			return nil, err
		}
		if len(meta)+len(pieces) > maxMetaPairs {
			return nil, fmt.Errorf("encode: metadata does not fit into the %d values that Consul takes", maxMetaPairs)
		}
	}
	for k, v := range rec.Metadata {
		if _, other := more[k]; !other {
			meta[k] = v
		}
	}
	for i, p := range pieces {
		meta[metaMore+strconv.Itoa(i)] = p
	}
	return meta, nil
}

// plainMeta reports whether Consul takes the pair, and it cannot be mistaken for another.
func plainMeta(k, v string) bool {
	if k == "" || len(k) > maxMetaKey || len(v) > maxMetaValue || k == metaZone || k == metaVersion ||
		strings.HasPrefix(k, "consul-") || strings.HasPrefix(k, metaOurs) {
		return false
	}
	return !strings.ContainsFunc(k, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
	})
}

// split writes m as JSON in pieces that Consul takes, none of which ends within a character.
func split(m map[string]string) ([]string, error) {
	if len(m) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	var pieces []string
	for len(b) > 0 {
		n := min(len(b), maxMetaValue)
		for n < len(b) && !utf8.RuneStart(b[n]) {
			n--
		}
		pieces = append(pieces, string(b[:n]))
		b = b[n:]
	}
	return pieces, nil
}

// instance is what an entry says.
type instance struct {
	rec     driver.Record
	written written // zero unless the record is ours
	node    string
	index   uint64
	dead    bool // its checks say that it must not be used
	err     error
}

// decode reads an entry of the service that Holdfast calls by service and Consul by name.
func decode(serviceName, name string, e entry) instance {
	i := instance{node: e.Node.Node, index: e.Service.ModifyIndex}
	i.rec.Service = serviceName
	own, named := strings.CutPrefix(e.Service.ID, name+":")
	_, leased := e.Service.Meta[metaLease]
	ours := named && leased
	if ours {
		i.rec.ID = own
	} else {
		// IDs of other software are unique on their node only.
		i.rec.ID = e.Node.Node + "/" + e.Service.ID
	}
	worst := i.judge(e.Checks)
	i.rec.Weight = e.Service.Weights.Passing
	if worst == warning {
		i.rec.Weight = max(1, e.Service.Weights.Warning)
	}
	switch {
	case e.Service.ID == "" || ours && own == "":
		i.err = errors.New("decode: no id")
	case i.rec.Weight < 0:
		i.err = fmt.Errorf("decode: weight %d", i.rec.Weight)
	case ours:
		i.err = i.decodeOurs(e)
	default:
		i.err = i.decodeForeign(e)
	}
	return i
}

// judge takes the checks of an instance and of its node, and returns the worst status aside from maintenance. One in
// maintenance is about to leave, or to stay away for a while: that is draining.
func (i *instance) judge(checks []check) string {
	worst := passing
	for _, c := range checks {
		switch {
		case c.CheckID == nodeMaintenance || strings.HasPrefix(c.CheckID, serviceMaintenance):
			i.rec.Draining = true
		case c.Status == passing:
		case c.Status == warning:
			if worst == passing {
				worst = warning
			}
		default:
			worst = critical
		}
	}
	i.dead = worst == critical
	return worst
}

func (i *instance) decodeOurs(e entry) (err error) {
	s := e.Service
	if i.written, err = parseWritten(s.Meta[metaLease]); err != nil {
		return err
	}
	i.rec.Owner = s.Meta[metaOwner]
	if i.rec.Owner == "" {
		return errors.New("decode: no owner")
	}
	i.rec.Zone, i.rec.Version = s.Meta[metaZone], s.Meta[metaVersion]
	if i.rec.Metadata, err = ownMeta(s.Meta); err != nil {
		return err
	}
	i.rec.Endpoints, err = tagged(s.TaggedAddresses)
	if err == nil && len(i.rec.Endpoints) == 0 {
		err = errors.New("decode: no address")
	}
	return err
}

// ownMeta returns the service's own metadata.
func ownMeta(meta map[string]string) (map[string]string, error) {
	own := make(map[string]string)
	var more strings.Builder
	for n := range maxMetaPairs {
		piece, ok := meta[metaMore+strconv.Itoa(n)]
		if !ok {
			break
		}
		more.WriteString(piece)
	}
	if more.Len() > 0 {
		if err := json.Unmarshal([]byte(more.String()), &own); err != nil {
			return nil, fmt.Errorf("decode: %s0: %w", metaMore, err)
		}
	}
	for k, v := range meta {
		if plainMeta(k, "") {
			own[k] = v
		}
	}
	if len(own) == 0 {
		return nil, nil
	}
	return own, nil
}

// tagged returns the endpoints among the tagged addresses.
func tagged(addrs map[string]address) (map[string]string, error) {
	var out map[string]string
	for protocol, a := range addrs {
		if reservedAddress(protocol) || protocol == "" {
			continue
		}
		addr, err := a.join()
		if err != nil {
			return nil, fmt.Errorf("decode: address %q: %w", protocol, err)
		}
		if out == nil {
			out = make(map[string]string)
		}
		if len(out) == maxEndpoints {
			return nil, fmt.Errorf("decode: more than %d addresses", maxEndpoints)
		}
		out[protocol] = addr
	}
	return out, nil
}

// join returns host:port. Kratos writes a URL in place of the host.
func (a address) join() (string, error) {
	if strings.Contains(a.Address, "://") {
		u, err := url.Parse(a.Address)
		if err != nil || u.Hostname() == "" || u.Port() == "" {
			return "", errors.New("is a URL without HOST:PORT")
		}
		return net.JoinHostPort(u.Hostname(), u.Port()), nil
	}
	if a.Address == "" || a.Port <= 0 || a.Port > 65535 || strings.ContainsFunc(a.Address, func(r rune) bool { return r <= ' ' || r == '/' }) {
		return "", fmt.Errorf("host %.40q and port %d", a.Address, a.Port)
	}
	return net.JoinHostPort(a.Address, strconv.Itoa(a.Port)), nil
}

// decodeForeign reads what other software registered. Tagged addresses and ports named by a protocol are its endpoints,
// as with Kratos; otherwise there is one address, and a tag or the Meta "protocol" may say what is spoken there. When nothing
// does, it is a candidate for every protocol: whoever calls the service knows what it speaks.
func (i *instance) decodeForeign(e entry) (err error) {
	s := e.Service
	i.rec.Zone, i.rec.Version = s.Meta[metaZone], s.Meta[metaVersion]
	for _, tag := range s.Tags {
		if v, ok := strings.CutPrefix(tag, "version="); ok && i.rec.Version == "" {
			i.rec.Version = v
		}
	}
	for k, v := range s.Meta {
		if k == metaZone || k == metaVersion {
			continue
		}
		if i.rec.Metadata == nil {
			i.rec.Metadata = make(map[string]string)
		}
		i.rec.Metadata[k] = v
	}
	i.rec.Endpoints, err = foreignEndpoints(e)
	return err
}

func foreignEndpoints(e entry) (map[string]string, error) {
	s := e.Service
	out, err := tagged(s.TaggedAddresses)
	if err != nil || out == nil { // what others put there need not be for us
		out = make(map[string]string)
	}
	host, main := s.Address, s.Port
	if host == "" {
		host = e.Node.Address
	}
	for _, p := range s.Ports {
		if addr, err := (address{host, p.Port}).join(); err == nil && p.Name != "" && len(out) < maxEndpoints {
			out[p.Name] = addr
		}
		if p.Default {
			main = p.Port
		}
	}
	if out["grpc"] != "" || out["http"] != "" {
		return out, nil
	}
	addr, err := address{host, main}.join()
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	for _, said := range append(slices.Clone(s.Tags), s.Meta["protocol"]) {
		if p := strings.ToLower(said); p == "grpc" || p == "http" {
			out[p] = addr
		}
	}
	if out["grpc"] == "" && out["http"] == "" {
		out["grpc"], out["http"] = addr, addr
	}
	return out, nil
}

// listing turns the entries of a service into what package registry wants. Of several records of one ID, which happens
// when an instance moved from an agent that is gone to another, the last written one counts.
func listing(serviceName, name string, entries []entry, revision uint64) driver.Listing {
	out := driver.Listing{Revision: revision}
	at := make(map[string]int, len(entries)) // ID to index in kept
	kept := make([]instance, 0, len(entries))
	for _, e := range entries {
		i := decode(serviceName, name, e)
		if i.dead {
			continue
		}
		if old, twice := at[i.rec.ID]; twice {
			if i.index > kept[old].index {
				kept[old] = i
			}
			continue
		}
		at[i.rec.ID] = len(kept)
		kept = append(kept, i)
	}
	for _, i := range kept {
		if i.err != nil {
			out.Unreadable = append(out.Unreadable, driver.Unreadable{ID: i.rec.ID, Err: i.err})
			continue
		}
		out.Records = append(out.Records, i.rec)
	}
	return out
}
