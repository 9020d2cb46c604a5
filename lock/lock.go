package lock

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/failure"
)

// The reasons of this package's errors, in failure.Domain.
const (
	ReasonLost   = "LOCK_LOST"
	ReasonHeld   = "LOCK_HELD"
	ReasonClosed = "LOCKER_CLOSED"
)

var (
	// ErrLost is why a Held's context ended before Unlock: the session could not be renewed in time, or the engine has
	// ended it. Another may hold the lock. What was being done may be done again under a new hold.
	ErrLost error = failure.New(failure.Aborted, "the lock was lost").WithReason(ReasonLost, failure.Domain)
	// ErrHeld is returned by TryLock when somebody else holds the lock or waits for it.
	ErrHeld error = failure.New(failure.Aborted, "the lock is held").WithReason(ReasonHeld, failure.Domain)
	// ErrClosed is returned by what is called after, or waits during, Close.
	ErrClosed error = failure.New(failure.Unavailable, "the locker is closed").WithReason(ReasonClosed, failure.Domain)
	// ErrUnlocked is the cause of a Held's context that was ended by Unlock.
	ErrUnlocked = errors.New("unlocked")
)

// Config is the part of a Locker that has defaults. The zero value works.
type Config struct {
	// TTL is how long a lock outlives a holder that died without a word; default 10 s. Sessions are renewed every third
	// of it. Shorter finds the dead earlier and is lost on shorter stalls, of the engine's own elections as well. Engines
	// have a shortest one (etcd 2 s, Consul 10 s, unless they are set otherwise) and use it instead; Consul has a longest
	// one, too (a minute, see consullock.Config.LockDelay).
	TTL time.Duration

	// Margin is how long before its TTL has passed a holder's context ends; default a tenth of the TTL. It has to cover
	// what the clocks of two machines run apart in a TTL, and should cover what it takes to stop what is under way. It is at
	// most half of the TTL that the engine grants.
	Margin time.Duration

	// Settle is how long an engine that has lost its memory, or is new, grants nothing; default the TTL that the engine
	// granted, negative for not at all. It has to be at least the longest TTL in use on the engine. Without it, two can hold a lock for a while after
	// a wipe, and only their tokens tell them apart.
	Settle time.Duration

	// CallTimeout bounds every call to the engine; default 3 s. A holder that cannot renew tries until its time is up.
	CallTimeout time.Duration

	// Name is what others see as the holder: instance and process, for people. Default: nothing.
	Name string

	// Logger gets what this package survives; default slog.Default().
	Logger *slog.Logger
}

// Validate reports every field that cannot work.
func (c Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"TTL", c.TTL}, {"Margin", c.Margin}, {"CallTimeout", c.CallTimeout}} {
		if d.v < 0 {
			errs = append(errs, fmt.Errorf("lock config %s: negative", d.name))
		}
	}
	if d := c.withDefaults(); d.Margin > d.TTL/2 {
		errs = append(errs, fmt.Errorf("lock config Margin: %v is more than half of the TTL, which leaves no time to renew", c.Margin))
	}
	if len(c.Name) > maxText {
		errs = append(errs, fmt.Errorf("lock config Name: more than %d bytes", maxText))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.TTL <= 0 {
		c.TTL = 10 * time.Second
	}
	if c.CallTimeout <= 0 {
		c.CallTimeout = 3 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

const (
	// maxName bounds a lock's name, and maxText what is kept for people and with a leader. Engines keep both.
	maxName = 256
	maxText = 4096
)

// ValidateName reports why a lock cannot have that name: it is 1 to 256 bytes of UTF-8 without control characters.
func ValidateName(name string) error {
	switch {
	case name == "":
		return errors.New("a lock without a name")
	case len(name) > maxName:
		return fmt.Errorf("a lock's name of %d bytes: more than %d", len(name), maxName)
	case !utf8.ValidString(name), strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("a lock's name %q: control characters in it, or not UTF-8", name)
	}
	return nil
}
