package idempotency

import (
	"errors"
	"fmt"
)

// State is how far a request is.
type State uint8

// The states of a Record.
const (
	// UnderWay: somebody runs it, or did until it died.
	UnderWay State = 1
	// Done: it has been answered, and the answer is in the record.
	Done State = 2
	// NotKept: it has been answered, and the answer was too large to keep.
	NotKept State = 3
)

// Record is what a [Store] holds of one request.
type Record struct {
	State       State
	Fingerprint Fingerprint
	// Owner tells the run that is under way from others: random. Zero in the other states.
	Owner [16]byte
	// Result is the answer, if State is Done.
	Result []byte
}

// recordVersion is the first byte of a record. Another is another format, which a process of another version wrote.
const recordVersion = 1

const recordHead = 2 + len(Fingerprint{})

var errRecord = errors.New("idempotency record: not readable")

// Append appends r to b as it is stored.
func (r Record) Append(b []byte) []byte {
	b = append(b, recordVersion, byte(r.State))
	b = append(b, r.Fingerprint[:]...)
	switch r.State {
	case UnderWay:
		b = append(b, r.Owner[:]...)
	case Done:
		b = append(b, r.Result...)
	case NotKept:
	}
	return b
}

// ParseRecord is the inverse of Append. The Result is part of data.
func ParseRecord(data []byte) (Record, error) {
	if len(data) < recordHead {
		return Record{}, fmt.Errorf("%w: %d bytes", errRecord, len(data))
	}
	if data[0] != recordVersion {
		return Record{}, fmt.Errorf("%w: format %d", errRecord, data[0])
	}
	r := Record{State: State(data[1]), Fingerprint: Fingerprint(data[2:recordHead])}
	rest := data[recordHead:]
	switch {
	case r.State == UnderWay && len(rest) == len(r.Owner):
		r.Owner = [16]byte(rest)
	case r.State == Done:
		r.Result = rest
	case r.State == NotKept && len(rest) == 0:
	default:
		return Record{}, fmt.Errorf("%w: state %d, %d bytes", errRecord, r.State, len(data))
	}
	return r, nil
}
