package sight

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// sourceOf tells processes, and what of each comes in requests of its own, apart: by resources, the names of scopes and since when
// there is something to count. What comes after a restart does not replace what the process before it said last.
func sourceOf(body []byte) (key [sha256.Size]byte) {
	h := sha256.New()
	begun := uint64(math.MaxUint64)
	_ = fields(body, func(num protowire.Number, resource []byte, _ uint64) error {
		if num != 1 || resource == nil {
			return nil
		}
		return fields(resource, func(num protowire.Number, b []byte, _ uint64) error {
			switch num { //nolint:exhaustive // the others do not concern it
			case 1:
				_, _ = h.Write(b)
			case 2:
				return fields(b, func(num protowire.Number, b []byte, _ uint64) error {
					switch num { //nolint:exhaustive // the others do not concern it
					case 1:
						_, _ = h.Write(b)
					case 2:
						begun = min(begun, earliest(b))
					}
					return nil
				})
			}
			return nil
		})
	}) // the store has read it: it is good
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, begun))
	return [sha256.Size]byte(h.Sum(nil))
}

// earliest is since when a metric has been counted that adds up.
func earliest(metric []byte) uint64 {
	begun := uint64(math.MaxUint64)
	_ = fields(metric, func(num protowire.Number, data []byte, _ uint64) error {
		if data == nil || num != 7 && num != 9 && num != 10 {
			return nil
		}
		cumulative := false
		of := uint64(math.MaxUint64)
		err := fields(data, func(num protowire.Number, b []byte, n uint64) error {
			if num == 2 {
				cumulative = n == 2
			}
			if num != 1 || b == nil {
				return nil
			}
			return fields(b, func(num protowire.Number, _ []byte, n uint64) error {
				if num == 2 {
					of = min(of, n)
				}
				return nil
			})
		})
		if cumulative {
			begun = min(begun, of)
		}
		return err
	})
	return begun
}
