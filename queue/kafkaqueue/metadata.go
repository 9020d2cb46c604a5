package kafkaqueue

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
)

const (
	// metadataMark begins the metadata of our commits, and is the version of their form.
	metadataMark = "h1:"
	// maxMetadataText is what brokers take unless they are told to take less (offset.metadata.max.bytes is 4096).
	maxMetadataText = 4000
	// maxSpans is as many as can have room.
	maxSpans = 1400
)

// encodeSettled writes spans beyond position as text: distances between their borders as varints, in base64. Those that
// have no room are left out; they are the last, and are delivered again. After a distance of 0, which is none and where
// earlier versions stop reading, comes the ID of the topic, if it has one.
func encodeSettled(position int64, spans []span, id [16]byte) string {
	known := id != [16]byte{}
	if len(spans) == 0 && !known {
		return ""
	}
	const most = (maxMetadataText-len(metadataMark))/4*3 - 1 - len(id)
	b := make([]byte, 0, 2*len(spans)*2+1+len(id))
	at := position
	for _, s := range spans {
		n := len(b)
		b = binary.AppendUvarint(b, uint64(s.first-at))      //nolint:gosec // spans are in order
		b = binary.AppendUvarint(b, uint64(s.end-s.first-1)) //nolint:gosec // and not empty
		if len(b) > most {
			b = b[:n]
			break
		}
		at = s.end
	}
	if known {
		b = append(append(b, 0), id[:]...)
	}
	return metadataMark + base64.RawStdEncoding.EncodeToString(b)
}

// decodeSettled is the inverse; the ID is zero if it is not known. Metadata of somebody else are none, and what makes no sense
// ends it.
func decodeSettled(position int64, text string) (out []span, id [16]byte) {
	code, ok := strings.CutPrefix(text, metadataMark)
	if !ok || len(text) > maxMetadataText || position < 0 {
		return nil, id
	}
	b, err := base64.RawStdEncoding.DecodeString(code)
	if err != nil {
		return nil, id
	}
	const far = 1 << 32 // no further are we ever ahead
	at := position
	for len(b) > 0 {
		gap, n := binary.Uvarint(b)
		if n <= 0 || gap > far {
			return out, id
		}
		if gap == 0 { // nothing is settled right at the position, or at the end of a span
			if len(b) == n+len(id) {
				copy(id[:], b[n:])
			}
			return out, id
		}
		length, m := binary.Uvarint(b[n:])
		if m <= 0 || length > far {
			return out, id
		}
		b = b[n+m:]
		s := span{first: at + int64(gap)}
		s.end = s.first + int64(length) + 1
		if s.first < at || s.end <= s.first {
			return out, id
		}
		at = s.end
		out = append(out, s)
	}
	return out, id
}
