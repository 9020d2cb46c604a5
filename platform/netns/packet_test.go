package netns

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

var (
	left  = netip.MustParseAddr("10.200.2.1")
	right = netip.MustParseAddr("10.200.3.1")
)

// segment makes a packet of TCP, with a payload of n bytes.
func segment(from, to netip.Addr, f flow, seq, ack uint32, flags byte, n int) []byte {
	b := append(reset(from, to, f, seq, ack, flags), make([]byte, n)...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func parsed(t *testing.T, b []byte) packet {
	t.Helper()
	p, ok := parse(b)
	if !ok || p.segment == nil {
		t.Fatalf("% x is no segment", b)
	}
	return p
}

func TestParse(t *testing.T) {
	f := flow{40000, 80}
	good := segment(left, right, f, 1, 2, flagACK, 10)
	p := parsed(t, good)
	if p.from != left || p.to != right || p.flow() != f || p.flags() != flagACK || p.length() != 10 {
		t.Errorf("%+v: flow %v, flags %x, length %d", p, p.flow(), p.flags(), p.length())
	}
	edit := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), good...)) }
	for name, b := range map[string][]byte{
		"nothing":                     nil,
		"too short":                   good[:19],
		"IPv6":                        edit(func(b []byte) []byte { b[0] = 6<<4 | 5; return b }),
		"header shorter than it is":   edit(func(b []byte) []byte { b[0] = 4<<4 | 4; return b }),
		"header longer than the rest": edit(func(b []byte) []byte { b[3] = 30; b[2] = 0; b[0] = 4<<4 | 8; return b }),
		"cut":                         good[:len(good)-1],
	} {
		if p, ok := parse(b); ok {
			t.Errorf("%s: %+v", name, p)
		}
	}
	for name, b := range map[string][]byte{
		"UDP":                                 edit(func(b []byte) []byte { b[9] = 17; return b }),
		"a later fragment":                    edit(func(b []byte) []byte { b[7] = 1; return b }),
		"no room for TCP":                     edit(func(b []byte) []byte { b[3] = 39; return b[:39] }),
		"TCP's header longer than the packet": edit(func(b []byte) []byte { b[32] = 15 << 4; return b }),
		"TCP's header shorter than it is":     edit(func(b []byte) []byte { b[32] = 4 << 4; return b }),
	} {
		if p, ok := parse(b); !ok || p.segment != nil {
			t.Errorf("%s: %+v, %v", name, p, ok)
		}
	}
}

// What answers a segment is what RFC 9293 has a host answer that knows nothing of the connection.
func TestResets(t *testing.T) {
	f := flow{40000, 80}
	for _, c := range []struct {
		name         string
		sent         []byte
		seq, ack     uint32
		flags        byte
		seqOn, ackOn uint32 // of what goes on to the other end
	}{
		{"a first segment", segment(left, right, f, 100, 0, flagSYN, 0), 0, 101, flagRST | flagACK, 100, 0},
		{"one with data", segment(left, right, f, 100, 7, flagACK, 50), 7, 0, flagRST, 100, 7},
		{"a last one without ACK", segment(left, right, f, 100, 0, flagFIN, 50), 0, 151, flagRST | flagACK, 100, 0},
	} {
		p := parsed(t, c.sent)
		back := p.refusal()
		if r := parsed(t, back); r.from != right || r.to != left || r.flow() != (flow{80, 40000}) || r.flags() != c.flags ||
			binary.BigEndian.Uint32(r.segment[4:]) != c.seq || binary.BigEndian.Uint32(r.segment[8:]) != c.ack {
			t.Errorf("%s is answered % x", c.name, back)
		}
		on := p.aborted()
		if r := parsed(t, on); r.from != left || r.to != right || r.flow() != f || r.flags() != flagRST|flagACK ||
			binary.BigEndian.Uint32(r.segment[4:]) != c.seqOn || binary.BigEndian.Uint32(r.segment[8:]) != c.ackOn {
			t.Errorf("%s goes on as % x", c.name, on)
		}
		for _, b := range [][]byte{back, on} {
			if !intact(b) {
				t.Errorf("%s: the sums of % x are wrong", c.name, b)
			}
		}
	}
}

// intact checks the sums as a receiver does: with the sums in it, everything adds up to 0xffff.
func intact(b []byte) bool {
	s := b[20:]
	if len(s)%2 != 0 {
		s = append(append([]byte(nil), s...), 0)
	}
	return sum(0, b[:20]) == 0xffff && sum(sum(protoTCP+uint16(len(b)-20), b[12:20]), s) == 0xffff
}

// Whatever a process in a namespace sends, the switch reads nothing beyond it, and what it answers is well formed.
func FuzzPacket(f *testing.F) {
	f.Add(segment(left, right, flow{1, 2}, 3, 4, flagSYN, 0))
	f.Add(segment(left, right, flow{1, 2}, 3, 4, flagACK|flagFIN, 100))
	f.Add([]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 200, 2, 1, 10, 200, 3, 1})
	f.Add([]byte{0x60, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parse(b)
		if !ok {
			return
		}
		if !p.from.Is4() || !p.to.Is4() {
			t.Fatalf("%+v", p)
		}
		if p.segment == nil {
			return
		}
		if len(p.segment) > len(b)-20 || p.length() > MaxPacket+2 {
			t.Fatalf("a segment of %d bytes, %d long, in %d", len(p.segment), p.length(), len(b))
		}
		for _, answer := range [][]byte{p.refusal(), p.aborted()} {
			r, ok := parse(answer)
			if !ok || r.segment == nil || r.flags()&flagRST == 0 || !intact(answer) {
				t.Fatalf("% x is answered % x", b, answer)
			}
		}
		if r, _ := parse(p.refusal()); r.from != p.to || r.to != p.from {
			t.Fatalf("% x is answered to %s", b, r.to)
		}
	})
}
