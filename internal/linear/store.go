package linear

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
)

// Store is the store that the histories are of, as a state machine: commands in, answers out, nothing else. It is what
// is replicated under test, so it does not guard against being told something twice. The zero value is empty and ready;
// it is not safe for concurrent use.
type Store struct {
	values map[string]string
}

// errCommand says that bytes are no command.
var errCommand = errors.New("not a command of the store")

// Command encodes what a put, an append or a compare-and-swap does.
func Command(op Op) []byte {
	b := []byte{byte(op.Kind)}
	for _, s := range []string{op.Key, op.Value, op.Old} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// Apply executes a command. The answer is for [Answer].
func (s *Store) Apply(command []byte) ([]byte, error) {
	if len(command) == 0 {
		return nil, errCommand
	}
	var field [3]string
	rest := command[1:]
	for i := range field {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used) {
			return nil, errCommand
		}
		field[i], rest = string(rest[used:used+int(n)]), rest[used+int(n):]
	}
	if s.values == nil {
		s.values = map[string]string{}
	}
	key, value, old := field[0], field[1], field[2]
	switch Kind(command[0]) {
	case Put:
		s.values[key] = value
		return nil, nil
	case Append:
		s.values[key] += value
		return binary.AppendUvarint(nil, uint64(len(s.values[key]))), nil
	case CAS:
		if s.values[key] != old {
			return []byte{0}, nil
		}
		s.values[key] = value
		return []byte{1}, nil
	default:
		return nil, errCommand
	}
}

// Answer puts the answer of [Store.Apply] into the operation.
func Answer(op *Op, answer []byte) {
	switch op.Kind {
	case Append:
		n, _ := binary.Uvarint(answer)
		op.Length = int(n)
	case CAS:
		op.Swapped = len(answer) == 1 && answer[0] == 1
	default: // a put's says nothing, and a get has none of Apply
	}
}

// Get returns the value of a key, "" if it was never written.
func (s *Store) Get(key string) string { return s.values[key] }

// Snapshot returns a view of now that later commands do not change.
func (s *Store) Snapshot() *Store { return &Store{values: maps.Clone(s.values)} }

// Write writes the store. Equal stores write equal bytes.
func (s *Store) Write(w io.Writer) error {
	if err := json.NewEncoder(w).Encode(s.values); err != nil {
		return fmt.Errorf("write store: %w", err)
	}
	return nil
}

// Restore replaces the store by what Write wrote.
func (s *Store) Restore(r io.Reader) error {
	values := map[string]string{}
	if err := json.NewDecoder(r).Decode(&values); err != nil {
		return fmt.Errorf("restore store: %w", err)
	}
	s.values = values
	return nil
}
