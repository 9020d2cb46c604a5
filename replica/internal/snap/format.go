package snap

import (
	"encoding/binary"
	"hash/crc32"
)

// A file is a header, chunks and an end, all little-endian with CRC-32C:
//
//	header  "HFSNAPv1", group, index, term, nonce (8 bytes each), 0 (4), checksum of all that (4)
//	chunk   length (4), checksum (4) of nonce, number of the chunk, length and content; content
//	end     ffffffff (4), checksum (4) of nonce, number of chunks, ffffffff and total; total length of the contents (8)
//
// The nonce in every checksum keeps chunks of another file from counting here.
const (
	magic         = "HFSNAPv1"
	headerBytes   = 48
	chunkHeader   = 8
	endBytes      = 16
	endMark       = 0xffffffff
	maxChunkBytes = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func header(id ID) []byte {
	b := make([]byte, headerBytes)
	copy(b, magic)
	for i, n := range []uint64{id.Group, id.Index, id.Term, id.Nonce} {
		binary.LittleEndian.PutUint64(b[8+8*i:], n)
	}
	binary.LittleEndian.PutUint32(b[44:], crc32.Checksum(b[:44], castagnoli))
	return b
}

// chunkSum begins the checksum of a chunk or of the end.
func chunkSum(nonce, number uint64, length uint32) uint32 {
	var b [20]byte
	binary.LittleEndian.PutUint64(b[:], nonce)
	binary.LittleEndian.PutUint64(b[8:], number)
	binary.LittleEndian.PutUint32(b[16:], length)
	return crc32.Checksum(b[:], castagnoli)
}

func putChunk(b []byte, nonce, number uint64) {
	content := b[chunkHeader:]
	binary.LittleEndian.PutUint32(b, uint32(len(content)))
	binary.LittleEndian.PutUint32(b[4:], crc32.Update(chunkSum(nonce, number, uint32(len(content))), castagnoli, content))
}

func end(nonce, chunks, total uint64) []byte {
	b := make([]byte, endBytes)
	binary.LittleEndian.PutUint32(b, endMark)
	binary.LittleEndian.PutUint64(b[8:], total)
	binary.LittleEndian.PutUint32(b[4:], crc32.Update(chunkSum(nonce, chunks, endMark), castagnoli, b[8:]))
	return b
}

// verifier checks the bytes of a file as they come, in pieces of any size.
type verifier struct {
	id     ID
	good   int64 // offset behind the last part that was complete and right
	offset int64
	part   []byte // of a header, a chunk's header or the end
	need   int    // how long it has to become
	left   uint32 // of the chunk's content
	sum    uint32 // so far
	want   uint32
	chunks uint64
	total  uint64
	done   bool
}

func newVerifier(id ID) *verifier { return &verifier{id: id, need: headerBytes} }

// write takes the next bytes and reports why they cannot be right, or "".
func (v *verifier) write(p []byte) (why string) {
	for len(p) > 0 {
		switch {
		case v.done:
			return "more behind its end"
		case v.left > 0:
			n := min(len(p), int(v.left))
			v.sum = crc32.Update(v.sum, castagnoli, p[:n])
			v.left -= uint32(n)
			v.offset += int64(n)
			v.total += uint64(n)
			p = p[n:]
			if v.left > 0 {
				continue
			}
			if v.sum != v.want {
				return "the checksum of a chunk is wrong"
			}
			v.chunks++
			v.next(chunkHeader)
		default:
			n := min(len(p), v.need-len(v.part))
			v.part = append(v.part, p[:n]...)
			v.offset += int64(n)
			p = p[n:]
			if len(v.part) == v.need {
				if why := v.parse(); why != "" {
					return why
				}
			}
		}
	}
	return ""
}

// next says that all is right so far, and what comes.
func (v *verifier) next(need int) {
	v.good, v.part, v.need = v.offset, v.part[:0], need
}

func (v *verifier) parse() (why string) {
	switch v.need {
	case headerBytes:
		if string(v.part) != string(header(v.id)) {
			return "the header is not that of the snapshot"
		}
		v.next(chunkHeader)
	case chunkHeader:
		length := binary.LittleEndian.Uint32(v.part)
		if length == endMark {
			v.need = endBytes
			return ""
		}
		if length == 0 || length > maxChunkBytes {
			return "a chunk has no possible length"
		}
		v.left, v.want = length, binary.LittleEndian.Uint32(v.part[4:])
		v.sum = chunkSum(v.id.Nonce, v.chunks, length)
	case endBytes:
		if string(v.part) != string(end(v.id.Nonce, v.chunks, v.total)) {
			return "the end does not fit what is before it"
		}
		v.done, v.good = true, v.offset
	}
	return ""
}
