package etcdregistry

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-go/holdfast/registry/driver"
)

const (
	// maxValue bounds one record; what is larger is not an address.
	maxValue = 64 << 10
	// metadataKey is where Holdfast keeps its own part within an endpoint's Metadata.
	metadataKey = "holdfast"
)

// endpoint is the JSON of etcd's naming/endpoints: {"Op":0,"Addr":"…","Metadata":…}.
type endpoint struct {
	Op       uint8
	Addr     string
	Metadata json.RawMessage `json:",omitempty"`
}

// extension is what Holdfast knows of an instance beyond its address. The service's own metadata stands beside it.
type extension struct {
	Endpoints map[string]string `json:"endpoints"`
	Zone      string            `json:"zone,omitempty"`
	Version   string            `json:"version,omitempty"`
	Weight    int               `json:"weight,omitempty"`
	Draining  bool              `json:"draining,omitempty"`
	Owner     string            `json:"owner,omitempty"`
}

// encode makes the value of a key. Addr, which is all that a plain gRPC client sees, is the gRPC endpoint if there is
// one, else the HTTP one, else the first by name.
func encode(rec driver.Record) ([]byte, error) {
	if _, taken := rec.Metadata[metadataKey]; taken {
		return nil, fmt.Errorf("encode: metadata key %q is reserved", metadataKey)
	}
	meta := make(map[string]any, len(rec.Metadata)+1)
	for k, v := range rec.Metadata {
		meta[k] = v
	}
	meta[metadataKey] = extension{
		Endpoints: rec.Endpoints, Zone: rec.Zone, Version: rec.Version,
		Weight: rec.Weight, Draining: rec.Draining, Owner: rec.Owner,
	}
	raw, err := json.Marshal(meta)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	b, err := json.Marshal(endpoint{Addr: mainAddr(rec.Endpoints), Metadata: raw})
	if err == nil && len(b) > maxValue {
		err = fmt.Errorf("encode: %d bytes, more than %d", len(b), maxValue)
	}
	return b, err
}

func mainAddr(endpoints map[string]string) string {
	for _, protocol := range []string{"grpc", "http"} {
		if addr, ok := endpoints[protocol]; ok {
			return addr
		}
	}
	protocols := slices.Sorted(maps.Keys(endpoints))
	if len(protocols) == 0 {
		return ""
	}
	return endpoints[protocols[0]]
}

// decode reads a value. One that was written by other software has an Addr, which is a gRPC endpoint, and perhaps
// metadata, of which the texts are taken.
func decode(service, id string, value []byte) (driver.Record, error) {
	rec := driver.Record{Instance: driver.Instance{Service: service, ID: id}}
	if len(value) > maxValue {
		return rec, fmt.Errorf("decode: %d bytes, more than %d", len(value), maxValue)
	}
	if id == "" {
		return rec, errors.New("decode: no id in the key")
	}
	var ep endpoint
	if err := json.Unmarshal(value, &ep); err != nil {
		return rec, fmt.Errorf("decode: %w", err)
	}
	if ep.Op != 0 {
		return rec, fmt.Errorf("decode: operation %d is no addition", ep.Op)
	}
	var meta map[string]json.RawMessage
	// Metadata of other software may be anything. Only an object can be of use.
	if err := json.Unmarshal(ep.Metadata, &meta); err == nil {
		if err := decodeMetadata(&rec, meta); err != nil {
			return rec, err
		}
	}
	if len(rec.Endpoints) == 0 {
		if ep.Addr == "" {
			return rec, errors.New("decode: no address")
		}
		rec.Endpoints = map[string]string{"grpc": ep.Addr}
	}
	return rec, nil
}

func decodeMetadata(rec *driver.Record, meta map[string]json.RawMessage) error {
	for k, raw := range meta {
		if k == metadataKey {
			continue
		}
		var text string
		if json.Unmarshal(raw, &text) != nil {
			continue
		}
		if rec.Metadata == nil {
			rec.Metadata = make(map[string]string)
		}
		rec.Metadata[k] = text
	}
	raw, ours := meta[metadataKey]
	if !ours {
		return nil
	}
	var ext extension
	if err := json.Unmarshal(raw, &ext); err != nil {
		return fmt.Errorf("decode: metadata %q: %w", metadataKey, err)
	}
	for protocol, addr := range ext.Endpoints {
		if protocol == "" || addr == "" {
			return errors.New("decode: endpoint without protocol or address")
		}
	}
	if ext.Weight < 0 {
		return fmt.Errorf("decode: weight %d", ext.Weight)
	}
	rec.Endpoints, rec.Zone, rec.Version = ext.Endpoints, ext.Zone, ext.Version
	rec.Weight, rec.Draining, rec.Owner = ext.Weight, ext.Draining, ext.Owner
	return nil
}
