package consulregistry

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
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
