package netns

import (
	"encoding/binary"
	"net/netip"
)

// MaxPacket is the most bytes of a packet: that is what IPv4 can say.
const MaxPacket = 65535

const (
	protoTCP = 6

	flagFIN = 1 << 0
	flagSYN = 1 << 1
	flagRST = 1 << 2
	flagACK = 1 << 4
)

// packet is what the switch has to know of an IPv4 packet (RFC 791).
type packet struct {
	from, to netip.Addr
	// segment is that of TCP, nil if there is none that could be read: another protocol, or a later fragment.
	segment []byte
}

// parse reads a packet. The bytes stay the caller's, and the segment is a part of them.
func parse(b []byte) (p packet, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return packet{}, false
	}
	header, total := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total < header || total > len(b) {
		return packet{}, false
	}
	p.from, p.to = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	later := binary.BigEndian.Uint16(b[6:])&0x1fff != 0
	if b[9] == protoTCP && !later {
		if s := b[header:total]; len(s) >= 20 && int(s[12]>>4)*4 >= 20 && int(s[12]>>4)*4 <= len(s) {
			p.segment = s
		}
	}
	return p, true
}

// flow is a connection seen from one of its ends.
type flow struct{ fromPort, toPort uint16 }

func (p packet) flow() flow {
	return flow{binary.BigEndian.Uint16(p.segment), binary.BigEndian.Uint16(p.segment[2:])}
}

func (p packet) flags() byte { return p.segment[13] }

// payload is the length of the segment in sequence numbers.
func (p packet) length() uint32 {
	n := uint32(len(p.segment)) - uint32(p.segment[12]>>4)*4 //nolint:gosec // at most MaxPacket
	if p.flags()&flagSYN != 0 {
		n++
	}
	if p.flags()&flagFIN != 0 {
		n++
	}
	return n
}

// refusal is what a host without such a connection would answer (RFC 9293, 3.10.7.1).
func (p packet) refusal() []byte {
	seq, ack := binary.BigEndian.Uint32(p.segment[4:]), binary.BigEndian.Uint32(p.segment[8:])
	f := p.flow()
	if p.flags()&flagACK != 0 {
		return reset(p.to, p.from, flow{f.toPort, f.fromPort}, ack, 0, flagRST)
	}
	return reset(p.to, p.from, flow{f.toPort, f.fromPort}, 0, seq+p.length(), flagRST|flagACK)
}

// aborted is the end of the connection as its other end would hear of it if this one had made it.
func (p packet) aborted() []byte {
	seq, ack := binary.BigEndian.Uint32(p.segment[4:]), binary.BigEndian.Uint32(p.segment[8:])
	return reset(p.from, p.to, p.flow(), seq, ack, flagRST|flagACK)
}

// reset makes a packet that ends a connection.
func reset(from, to netip.Addr, f flow, seq, ack uint32, flags byte) []byte {
	b := make([]byte, 40)
	b[0] = 4<<4 | 5
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[8], b[9] = 64, protoTCP
	a4, b4 := from.As4(), to.As4()
	copy(b[12:], a4[:])
	copy(b[16:], b4[:])
	binary.BigEndian.PutUint16(b[10:], ^sum(0, b[:20]))
	s := b[20:]
	binary.BigEndian.PutUint16(s, f.fromPort)
	binary.BigEndian.PutUint16(s[2:], f.toPort)
	binary.BigEndian.PutUint32(s[4:], seq)
	binary.BigEndian.PutUint32(s[8:], ack)
	s[12], s[13] = 5<<4, flags
	// The sum of TCP covers the addresses, the protocol and the length, too.
	binary.BigEndian.PutUint16(s[16:], ^sum(sum(protoTCP+uint16(len(s)), b[12:20]), s))
	return b
}

// sum adds bytes to a sum as IP's headers have it (RFC 1071). There must be an even number of them.
func sum(begin uint16, b []byte) uint16 {
	total := uint32(begin)
	for i := 0; i < len(b); i += 2 {
		total += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}
