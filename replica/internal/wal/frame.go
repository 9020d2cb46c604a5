package wal

import (
	"encoding/binary"
	"hash/crc32"
)

// A frame is what one Append writes: a header and the records of all groups, padded with zeros.
//
//	0  checksum of salt of the segment, offset of the frame in it, and bytes 4 to 24
//	4  length of the payload, without header and padding
//	8  number of the frame, one more than the one before, over all segments
//	16 checksum of the payload
//	20 checksum field of the frame before
//
// All little-endian, all checksums CRC-32C. Salt and offset in the header's checksum make that what was written here in
// another life of the file is never taken for a frame, nor bytes that a user chose.
const (
	frameHeaderBytes = 24
	frameAlign       = 8
	maxFrameBytes    = 1 << 30
	// maxAppendBytes leaves room in a frame for what is moved along. What may be written may be read: one limit.
	maxAppendBytes = maxFrameBytes / 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func align[T int | int64](n T) T { return (n + frameAlign - 1) &^ (frameAlign - 1) }

type frameHeader struct {
	length  int
	seq     uint64
	payload uint32
	chain   uint32
}

func headerSum(salt uint64, offset int64, b []byte) uint32 {
	var seed [16]byte
	binary.LittleEndian.PutUint64(seed[:], salt)
	binary.LittleEndian.PutUint64(seed[8:], uint64(offset))
	return crc32.Update(crc32.Update(0, castagnoli, seed[:]), castagnoli, b[4:frameHeaderBytes])
}

// putHeader makes the header of the frame in b, whose payload is there and not yet padded, and returns its checksum.
func putHeader(b []byte, salt uint64, offset int64, seq uint64, chain uint32) uint32 {
	payload := b[frameHeaderBytes:]
	binary.LittleEndian.PutUint32(b[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(b[8:], seq)
	binary.LittleEndian.PutUint32(b[16:], crc32.Checksum(payload, castagnoli))
	binary.LittleEndian.PutUint32(b[20:], chain)
	sum := headerSum(salt, offset, b)
	binary.LittleEndian.PutUint32(b, sum)
	return sum
}

// readHeader returns the header at the beginning of b, which was read at offset, and its checksum; ok if it is one.
func readHeader(b []byte, salt uint64, offset int64) (h frameHeader, sum uint32, ok bool) {
	if len(b) < frameHeaderBytes {
		return h, 0, false
	}
	h = frameHeader{
		length: int(binary.LittleEndian.Uint32(b[4:])), seq: binary.LittleEndian.Uint64(b[8:]),
		payload: binary.LittleEndian.Uint32(b[16:]), chain: binary.LittleEndian.Uint32(b[20:]),
	}
	if h.length == 0 || h.length > maxFrameBytes || h.seq == 0 {
		return h, 0, false
	}
	sum = binary.LittleEndian.Uint32(b)
	return h, sum, headerSum(salt, offset, b) == sum
}

// bytes is the length of the frame in the file.
func (h frameHeader) bytes() int { return align(frameHeaderBytes + h.length) }

// body returns the payload of the frame at the beginning of b; ok if it is as it was written.
func (h frameHeader) body(b []byte) (p []byte, ok bool) {
	if len(b) < frameHeaderBytes+h.length {
		return nil, false
	}
	p = b[frameHeaderBytes : frameHeaderBytes+h.length]
	return p, crc32.Checksum(p, castagnoli) == h.payload
}

// write makes the frame durable.
func (l *Log) write(w *frameWriter) error {
	s := l.tail()
	sum := putHeader(w.buf, s.salt, s.end, l.seq+1, l.chain)
	w.pad()
	if _, err := l.head.WriteAt(w.buf, s.end); err != nil {
		return failed(err, "write")
	}
	if !mutantLostFsync {
		if err := l.head.Sync(); err != nil {
			return failed(err, "sync")
		}
	}
	s.end += int64(len(w.buf))
	l.seq++
	l.chain = sum
	l.syncs++
	l.written += uint64(len(w.buf))
	return nil
}
