package consulregistry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/registry/driver"
)

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
