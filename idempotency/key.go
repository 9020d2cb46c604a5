package idempotency

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/holdfast-go/holdfast/failure"
)

// MaxKey is the length of the longest key, in bytes.
const MaxKey = 256

// Key says what a request is a repetition of.
type Key struct {
	// Method is what the request asks for: keys of different methods do not meet. "/shop.Orders/Place", "POST /orders".
	Method string
	// Caller is whose key it is: keys of different callers do not meet, so that nobody is given the answer to somebody
	// else's request. It should come from authentication. "": all callers trust each other.
	Caller string
	// Key is what the caller chose: 1 to MaxKey printable ASCII characters, different for everything that is to
	// be done. A UUID is.
	Key string
}

// ErrKey is the answer to a key that is none.
var ErrKey = failure.New(failure.InvalidArgument, "idempotency key: not 1 to %d printable ASCII characters", MaxKey).
	WithReason("IDEMPOTENCY_KEY_INVALID", Domain)

// ValidKey reports whether s is a key as a caller may choose it.
func ValidKey(s string) bool {
	if s == "" || len(s) > MaxKey {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// ParseKey reads the value of an Idempotency-Key header. By the draft it is a string of RFC 8941, in quotes with \" and \\
// for those two characters; since most clients send the bare key, that is taken too. Both ways give the same key. It
// is false for anything that is no [ValidKey].
func ParseKey(value string) (key string, ok bool) {
	if value == "" || value[0] != '"' {
		return value, ValidKey(value)
	}
	if len(value) > 2*MaxKey+2 {
		return "", false
	}
	unquoted := make([]byte, 0, len(value))
	for i := 1; i < len(value); i++ {
		switch c := value[i]; c {
		case '"':
			key = string(unquoted)
			return key, i == len(value)-1 && ValidKey(key)
		case '\\':
			i++
			if i == len(value) || value[i] != '"' && value[i] != '\\' {
				return "", false
			}
			unquoted = append(unquoted, value[i])
		default:
			unquoted = append(unquoted, c)
		}
	}
	return "", false
}

// ID is what a Key is stored under: its hash, so that it is of one size, whoever sees the store does not learn keys, and
// no two keys are written alike.
type ID [sha256.Size]byte

// ID returns the ID of k.
func (k Key) ID() ID {
	h := sha256.New()
	part(h, k.Method)
	part(h, k.Caller)
	part(h, k.Key)
	return ID(h.Sum(nil))
}

// Fingerprint is the hash of what a request asks for, by which another request with the same key is told from a
// repetition. The zero value is that of a request which cannot be told from others: it matches any.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns the fingerprint of a request that consists of parts, in this order.
func FingerprintOf(parts ...[]byte) Fingerprint {
	h := sha256.New()
	for _, p := range parts {
		part(h, p)
	}
	return Fingerprint(h.Sum(nil))
}

func (f Fingerprint) matches(g Fingerprint) bool {
	return f == g || f == Fingerprint{} || g == Fingerprint{}
}

// part writes p after its length, so that no two lists of parts are written alike.
func part[T string | []byte](h hash.Hash, p T) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(p)))
	h.Write(length[:])
	h.Write([]byte(p))
}
