package idempotency

import (
	"context"
	"time"
)

// Entry is a record as a Store holds it.
type Entry struct {
	// Version grows with every write of the record and is not used again after its end. 0: there is no record.
	Version uint64
	// Data is the record, as [Record.Append] wrote it. It must not be changed.
	Data []byte
}

// Store keeps records by ID. Package idempotencytest has the suite that an implementation must pass. It must be safe for
// concurrent use.
type Store interface {
	// Swap replaces the record of id by data, if its version is version (0: if there is none), and reports true with
	// what is stored now. Otherwise it changes nothing, and reports false with what is stored. It does so atomically
	// for all who use the store. nil data removes the record.
	//
	// The record lasts for ttl, and not much longer, from now; then it is as if it had never been. A store may
	// forget a record earlier only where it says so.
	//
	// After an error the swap may have been made, or may be later. It must return soon after ctx is done, and must not
	// keep data.
	Swap(ctx context.Context, id ID, version uint64, data []byte, ttl time.Duration) (Entry, bool, error)
}
