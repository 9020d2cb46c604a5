package config

// Source says how good a Set is.
type Source int

const (
	// Live: the engine answers, and this is what it says (kept settings aside).
	Live Source = iota
	// Stale: the engine does not answer; this is what it said last.
	Stale
	// Disk: the engine has not answered since the process started; this is what was known before.
	Disk
)

// String returns "live", "stale" or "disk".
func (s Source) String() string {
	switch s {
	case Live:
		return "live"
	case Stale:
		return "stale"
	case Disk:
		return "disk"
	default:
		return "unknown"
	}
}

// Setting is one key as a process has it.
type Setting[T any] struct {
	// Value is what is in force, if InForce is true; otherwise it is the zero value, and nothing is.
	Value   T
	InForce bool
	// Revision is that of Value in the engine; 0 if Value came from the copy on disk.
	Revision uint64
	// Refused says why the engine's newest document is not in force; nil if it is. RefusedRevision is that document's.
	Refused         error
	RefusedRevision uint64
	// Kept says that the engine no longer has the key, and that this is not believed yet.
	Kept bool

	raw, refused []byte // the documents
}

// Set is all settings below a prefix at one moment. It is shared: its contents must not be changed.
type Set[T any] struct {
	// Settings are by key. A key whose only document was refused is among them, not in force.
	Settings map[string]Setting[T]
	Source   Source
}
