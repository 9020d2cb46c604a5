package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

const (
	maxName    = 256
	maxMembers = 15
	// minElection is what ticks can measure.
	minElection = 50 * time.Millisecond
)

// ValidateName reports whether name can be that of a host or a group: 1 to 256 bytes without '/' and control characters.
func ValidateName(name string) error {
	switch {
	case name == "":
		return errors.New("name: empty")
	case len(name) > maxName:
		return fmt.Errorf("name %.20q…: longer than %d bytes", name, maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r < ' ' || r == 0x7f || r == 0xfffd }):
		return fmt.Errorf("name %q: '/' or a control character", name)
	}
	return nil
}

func (c Config) validate() error {
	var errs []error
	if err := ValidateName(c.Name); err != nil {
		errs = append(errs, fmt.Errorf("replica: %w", err))
	}
	if c.Dir == "" {
		errs = append(errs, errors.New("replica: Dir: not set"))
	}
	if c.Members < 0 || c.Members > maxMembers {
		errs = append(errs, fmt.Errorf("replica: Members %d: not from 1 to %d", c.Members, maxMembers))
	}
	if n := len(c.Founders); n > 0 && n != c.defaults().Members {
		errs = append(errs, fmt.Errorf("replica: Founders: %d names for %d Members", n, c.defaults().Members))
	}
	errs = append(errs, validateNames("Founders", c.Founders)...)
	if c.Listener != nil && c.Addr != "" {
		errs = append(errs, fmt.Errorf("replica: Addr %q and Listener %s are both set", c.Addr, c.Listener.Addr()))
	}
	if (c.ServerTLS == nil) != (c.ClientTLS == nil) {
		errs = append(errs, errors.New("replica: one of ServerTLS and ClientTLS is set, without the other"))
	}
	if c.Election != 0 && c.Election < minElection {
		errs = append(errs, fmt.Errorf("replica: Election %v: shorter than %v", c.Election, minElection))
	}
	if c.SegmentBytes < 0 {
		errs = append(errs, fmt.Errorf("replica: SegmentBytes %d: negative", c.SegmentBytes))
	}
	return errors.Join(errs...)
}

func validateNames(field string, names []string) (errs []error) {
	for i, n := range names {
		if err := ValidateName(n); err != nil {
			errs = append(errs, fmt.Errorf("replica: %s: %w", field, err))
		}
		if slices.Contains(names[:i], n) {
			errs = append(errs, fmt.Errorf("replica: %s: %q twice", field, n))
		}
	}
	return errs
}

func (c Config) defaults() Config {
	if c.Members == 0 {
		c.Members = DefaultMembers
	}
	if c.Election == 0 {
		c.Election = DefaultElection
	}
	if c.ReplaceAfter == 0 {
		c.ReplaceAfter = DefaultReplaceAfter
	}
	if c.SnapshotRate == 0 {
		c.SnapshotRate = DefaultSnapshotRate
	}
	if c.Peers == nil {
		c.Peers = Static()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c GroupConfig) validate() error {
	errs := validateNames("Members", c.Members)
	if len(c.Members) > maxMembers {
		errs = append(errs, fmt.Errorf("replica: Members: %d, more than %d", len(c.Members), maxMembers))
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Timeout", int64(c.Timeout)},
		{"MaxCommand", int64(c.MaxCommand)},
		{"MaxPending", int64(c.MaxPending)},
		{"MaxPendingBytes", c.MaxPendingBytes},
		{"Keys", int64(c.Keys)},
		{"KeyRetention", int64(c.KeyRetention)},
		{"SnapshotEntries", int64(c.SnapshotEntries)},
		{"SnapshotBytes", c.SnapshotBytes},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("replica: %s %d: negative", f.name, f.value))
		}
	}
	d := c.defaults()
	if d.MaxCommand > maxCommand {
		errs = append(errs, fmt.Errorf("replica: MaxCommand %d: more than %d", d.MaxCommand, maxCommand))
	}
	if d.MaxPending > maxPending {
		errs = append(errs, fmt.Errorf("replica: MaxPending %d: more than %d", d.MaxPending, maxPending))
	}
	if d.MaxPendingBytes < int64(d.MaxCommand) {
		errs = append(errs, fmt.Errorf("replica: MaxPendingBytes %d: less than MaxCommand, %d", d.MaxPendingBytes, d.MaxCommand))
	}
	if d.MaxPendingBytes > maxPendingBytes {
		errs = append(errs, fmt.Errorf("replica: MaxPendingBytes %d: more than %d", d.MaxPendingBytes, maxPendingBytes))
	}
	if d.KeyRetention < minRetention {
		errs = append(errs, fmt.Errorf("replica: KeyRetention %v: less than %v", d.KeyRetention, minRetention))
	}
	return errors.Join(errs...)
}

const (
	// maxPending is half of the numbers of commands that a member's session tells apart.
	maxPending = 32768
	// maxPendingBytes is far beyond what a member should hold in memory, and an int everywhere.
	maxPendingBytes = 1 << 30
	// minRetention is below what a caller needs to come back.
	minRetention = time.Second
)

// maxCommand is what messages and the log have room for, several times over.
const maxCommand = 16 << 20

func (c GroupConfig) defaults() GroupConfig {
	or(&c.Timeout, DefaultTimeout)
	or(&c.MaxCommand, DefaultMaxCommand)
	or(&c.MaxPending, DefaultMaxPending)
	or(&c.MaxPendingBytes, DefaultMaxPendingBytes)
	or(&c.Keys, DefaultKeys)
	or(&c.KeyRetention, DefaultKeyRetention)
	or(&c.SnapshotEntries, DefaultSnapshotEntries)
	or(&c.SnapshotBytes, DefaultSnapshotBytes)
	return c
}

func or[T comparable](field *T, standard T) {
	var zero T
	if *field == zero {
		*field = standard
	}
}
