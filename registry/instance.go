package registry

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// Instance is one running copy of a service: where it is reached and what is known of it.
// Maps of an Instance that came out of this package are shared and must not be changed.
type Instance = driver.Instance

const (
	maxServiceName = 128
	maxID          = 256
	maxEndpoints   = 16
	maxMetadata    = 16 << 10 // bytes over all keys and values
)

// ValidateService reports whether name can be the name of a service: 1 to 128 letters, digits, '-', '_' and '.',
// starting with a letter or digit.
func ValidateService(name string) error {
	if name == "" {
		return errors.New("service name: empty")
	}
	if len(name) > maxServiceName {
		return fmt.Errorf("service name %.20q…: longer than %d bytes", name, maxServiceName)
	}
	for i, c := range []byte(name) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("-_.", rune(c))) {
			return fmt.Errorf("service name %q: character %q at byte %d", name, c, i)
		}
	}
	return nil
}

// ValidateID reports whether id can be the ID of an instance: 1 to 256 bytes without '/' and control characters.
func ValidateID(id string) error {
	switch {
	case id == "":
		return errors.New("instance id: empty")
	case len(id) > maxID:
		return fmt.Errorf("instance id %.20q…: longer than %d bytes", id, maxID)
	case strings.ContainsFunc(id, func(r rune) bool { return r == '/' || r < ' ' || r == 0x7f || r == 0xfffd }):
		return fmt.Errorf("instance id %q: '/' or a control character", id)
	}
	return nil
}

// Validate reports every reason why inst cannot be announced.
func Validate(inst Instance) error {
	var errs []error
	if err := ValidateService(inst.Service); err != nil {
		errs = append(errs, err)
	}
	if err := ValidateID(inst.ID); err != nil {
		errs = append(errs, err)
	}
	if len(inst.Endpoints) == 0 {
		errs = append(errs, errors.New("endpoints: none"))
	}
	if len(inst.Endpoints) > maxEndpoints {
		errs = append(errs, fmt.Errorf("endpoints: %d, more than %d", len(inst.Endpoints), maxEndpoints))
	}
	for protocol, addr := range inst.Endpoints {
		host, port, err := net.SplitHostPort(addr)
		if err != nil || host == "" || port == "" || port == "0" {
			errs = append(errs, fmt.Errorf("endpoint %s %q: not a host:port that can be dialled", protocol, addr))
		}
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			errs = append(errs, fmt.Errorf("endpoint %s %q: who dials it reaches itself", protocol, addr))
		}
	}
	if inst.Weight < 0 {
		errs = append(errs, fmt.Errorf("weight %d: negative", inst.Weight))
	}
	if _, ok := inst.Metadata["holdfast"]; ok {
		errs = append(errs, errors.New("metadata key \"holdfast\": reserved"))
	}
	size := 0
	for k, v := range inst.Metadata {
		size += len(k) + len(v)
	}
	if size > maxMetadata {
		errs = append(errs, fmt.Errorf("metadata: %d bytes, more than %d", size, maxMetadata))
	}
	return errors.Join(errs...)
}

func equal(a, b Instance) bool {
	return a.Service == b.Service && a.ID == b.ID && a.Zone == b.Zone && a.Version == b.Version &&
		a.Weight == b.Weight && a.Draining == b.Draining &&
		maps.Equal(a.Endpoints, b.Endpoints) && maps.Equal(a.Metadata, b.Metadata)
}

func clone(inst Instance) Instance {
	inst.Endpoints = maps.Clone(inst.Endpoints)
	inst.Metadata = maps.Clone(inst.Metadata)
	return inst
}
