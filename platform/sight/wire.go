package sight

import (
	"encoding/binary"
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// What a span may have. What is beyond is dropped, or cut.
const (
	maxName       = 256
	maxKey        = 128
	maxValue      = 1 << 10
	maxAttributes = 64
	maxItems      = 16 // of a value that is a list
	maxEvents     = 16
	maxLinks      = 8
	maxRecord     = 16 << 10
	maxNesting    = 8 // of values that are lists
)

var errWire = errors.New("not OTLP")

type (
	traceID [16]byte
	spanID  [8]byte
)

// source is who sent something: a service's instance. Its bytes are those of the request.
type source struct{ service, instance []byte }

// wireSpan is a span as it came. Its bytes are those of the request; it is used again for the next one.
type wireSpan struct {
	trace      traceID
	id, parent spanID
	name       []byte
	kind       byte // 1 internal, 2 server, 3 client, 4 producer, 5 consumer
	start, end int64
	failed     bool
	message    []byte // of the status
	attrs      []wireAttr
	events     []wireEvent
	links      []traceID
}

type wireEvent struct {
	name []byte
	at   int64
	attr []wireAttr
}

// The types of a value.
const (
	typeNone byte = iota
	typeString
	typeBool
	typeInt
	typeFloat
	typeList
)

type wireAttr struct {
	key []byte
	wireValue
}

type wireValue struct {
	typ  byte
	str  []byte
	num  uint64 // of a bool, an int, and the bits of a float
	list [][]byte
}

// fields walks the fields of a message. Each is handed with its number, and its bytes if it is a string or a message, or its
// number if it is not.
func fields(b []byte, each func(num protowire.Number, bytes []byte, n uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		var (
			value []byte
			v     uint64
		)
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.Fixed32Type:
			var v32 uint32
			v32, n = protowire.ConsumeFixed32(b)
			v = uint64(v32)
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
			if value == nil && n > 0 {
				value = []byte{}
			}
		default: // groups are of no use to anybody
			return errWire
		}
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if err := each(num, value, v); err != nil {
			return err
		}
	}
	return nil
}

// perResource walks what all three requests look like: resources, each with scopes (field 2), each with things (field 2).
func perResource(body []byte, each func(src source, thing []byte) error) error {
	return fields(body, func(num protowire.Number, resource []byte, _ uint64) error {
		if num != 1 || resource == nil {
			return nil
		}
		var src source
		err := fields(resource, func(num protowire.Number, b []byte, _ uint64) error {
			if num != 1 || b == nil {
				return nil
			}
			return fields(b, func(num protowire.Number, b []byte, _ uint64) error {
				if num != 1 || b == nil {
					return nil
				}
				var a wireAttr
				if err := a.parse(b); err != nil {
					return err
				}
				switch string(a.key) {
				case "service.name":
					src.service = cut(a.str, maxKey)
				case "service.instance.id":
					src.instance = cut(a.str, maxKey)
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		if len(src.service) == 0 {
			src.service = []byte("unknown")
		}
		return fields(resource, func(num protowire.Number, scope []byte, _ uint64) error {
			if num != 2 || scope == nil {
				return nil
			}
			return fields(scope, func(num protowire.Number, thing []byte, _ uint64) error {
				if num != 2 || thing == nil {
					return nil
				}
				return each(src, thing)
			})
		})
	})
}

func (s *wireSpan) parse(b []byte) error {
	*s = wireSpan{attrs: s.attrs[:0], events: s.events[:0], links: s.links[:0]}
	return fields(b, func(num protowire.Number, b []byte, n uint64) error {
		switch {
		case num == 1 && len(b) == len(s.trace):
			copy(s.trace[:], b)
		case num == 2 && len(b) == len(s.id):
			copy(s.id[:], b)
		case num == 4 && len(b) == len(s.parent):
			copy(s.parent[:], b)
		case num == 5:
			s.name = cut(b, maxName)
		case num == 6:
			s.kind = byte(min(n, 5))
		case num == 7:
			s.start = nanos(n)
		case num == 8:
			s.end = nanos(n)
		case num == 9 && b != nil && len(s.attrs) < maxAttributes:
			return appendAttr(&s.attrs, b)
		case num == 11 && b != nil && len(s.events) < maxEvents:
			return s.event(b)
		case num == 13 && b != nil && len(s.links) < maxLinks:
			return fields(b, func(num protowire.Number, b []byte, _ uint64) error {
				if num == 1 && len(b) == len(traceID{}) && len(s.links) < maxLinks {
					s.links = append(s.links, traceID(b))
				}
				return nil
			})
		case num == 15 && b != nil:
			return fields(b, func(num protowire.Number, b []byte, n uint64) error {
				switch int(num) {
				case 2:
					s.message = cut(b, maxValue)
				case 3:
					s.failed = n == 2
				}
				return nil
			})
		}
		return nil
	})
}

func (s *wireSpan) event(b []byte) error {
	var e wireEvent
	err := fields(b, func(num protowire.Number, b []byte, n uint64) error {
		switch {
		case num == 1:
			e.at = nanos(n)
		case num == 2:
			e.name = cut(b, maxName)
		case num == 3 && b != nil && len(e.attr) < maxItems:
			return appendAttr(&e.attr, b)
		}
		return nil
	})
	if err == nil {
		s.events = append(s.events, e)
	}
	return err
}

// nanos is a time since 1970 that fits into an int64.
func nanos(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func appendAttr(to *[]wireAttr, b []byte) error {
	var a wireAttr
	if err := a.parse(b); err != nil {
		return err
	}
	if len(a.key) > 0 && a.typ != typeNone {
		*to = append(*to, a)
	}
	return nil
}

func (a *wireAttr) parse(b []byte) error {
	return fields(b, func(num protowire.Number, b []byte, _ uint64) error {
		switch {
		case num == 1:
			a.key = cut(b, maxKey)
		case num == 2 && b != nil:
			return a.wireValue.parse(b, 0)
		}
		return nil
	})
}

func (v *wireValue) parse(b []byte, depth int) error {
	if depth > maxNesting {
		return nil
	}
	return fields(b, func(num protowire.Number, b []byte, n uint64) error {
		switch int(num) {
		case 1, 7: // a string, or bytes
			v.typ, v.str = typeString, cut(b, maxValue)
		case 2:
			v.typ, v.num = typeBool, min(n, 1)
		case 3:
			v.typ, v.num = typeInt, n
		case 4:
			v.typ, v.num = typeFloat, n
		case 5:
			v.typ = typeList
			return fields(b, func(num protowire.Number, b []byte, _ uint64) error {
				if num != 1 || b == nil || len(v.list) >= maxItems {
					return nil
				}
				var item wireValue
				if err := item.parse(b, depth+1); err != nil {
					return err
				}
				if item.typ == typeString {
					v.list = append(v.list, cut(item.str, maxKey))
				}
				return nil
			})
		}
		return nil
	})
}

// cut is at most n bytes of b, without half a letter at the end.
func cut(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	for n > 0 && b[n]&0xC0 == 0x80 {
		n--
	}
	return b[:n]
}

// fixed64s are the numbers of a packed field.
func fixed64s(b []byte, limit int) []uint64 {
	var out []uint64
	for len(b) >= 8 && len(out) < limit {
		out = append(out, binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	return out
}
