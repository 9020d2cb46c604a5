package sight

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// A record is a span in bytes without pointers: some 200 MB of them cost the garbage collector nothing. Of what can be
// told from the index (who, when, the parent) it has nothing.
//
//	name, message of the status, number of attributes, attributes, number of events, events, number of links, links
//
// Each string has its length in front. The key of an attribute is its number in knownKeys plus one, or a zero and a string.

// appendRecord appends the record of s to b. Attributes that would make it larger than maxRecord are left out.
func appendRecord(b []byte, s *wireSpan) []byte {
	begin := len(b)
	b = appendBytes(b, s.name)
	b = appendBytes(b, s.message)
	b = appendAttrs(b, s.attrs, begin)
	events := s.events
	for len(events) > 0 && len(b)-begin > maxRecord {
		events = nil
	}
	b = binary.AppendUvarint(b, uint64(len(events)))
	for _, e := range events {
		b = appendBytes(b, e.name)
		b = binary.AppendVarint(b, e.at)
		b = appendAttrs(b, e.attr, begin)
	}
	b = binary.AppendUvarint(b, uint64(len(s.links)))
	for _, l := range s.links {
		b = append(b, l[:]...)
	}
	return b
}

func appendBytes(b, s []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendAttrs ends with an attribute whose type is typeNone.
func appendAttrs(b []byte, attrs []wireAttr, begin int) []byte {
	for _, a := range attrs {
		if len(b)-begin > maxRecord {
			break
		}
		b = append(b, a.typ)
		if n, ok := keyNumbers[string(a.key)]; ok {
			b = binary.AppendUvarint(b, uint64(n)+1)
		} else {
			b = append(b, 0)
			b = appendBytes(b, a.key)
		}
		switch a.typ {
		case typeString:
			b = appendBytes(b, a.str)
		case typeBool, typeInt:
			b = binary.AppendVarint(b, int64(a.num))
		case typeFloat:
			b = binary.LittleEndian.AppendUint64(b, a.num)
		case typeList:
			b = binary.AppendUvarint(b, uint64(len(a.list)))
			for _, item := range a.list {
				b = appendBytes(b, item)
			}
		}
	}
	return append(b, typeNone)
}

// reader reads what appendRecord has written, which nobody else could have.
type reader struct{ b []byte }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n int) []byte {
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) string() string { return clean(string(r.take(int(r.uvarint())))) }

// attrs returns nil for none.
func (r *reader) attrs() map[string]any {
	var out map[string]any
	for {
		typ := r.take(1)[0]
		if typ == typeNone {
			return out
		}
		var key string
		if n := r.uvarint(); n > 0 {
			key = knownKeys[n-1]
		} else {
			key = r.string()
		}
		if out == nil {
			out = make(map[string]any, 16)
		}
		switch typ {
		case typeString:
			out[key] = r.string()
		case typeBool:
			out[key] = r.varint() != 0
		case typeInt:
			out[key] = r.varint()
		case typeFloat:
			f := math.Float64frombits(binary.LittleEndian.Uint64(r.take(8)))
			if math.IsNaN(f) || math.IsInf(f, 0) { // which JSON has not
				f = 0
			}
			out[key] = f
		case typeList:
			list := make([]string, r.uvarint())
			for i := range list {
				list[i] = r.string()
			}
			out[key] = list
		}
	}
}

// clean makes text fit for terminals and pages: valid, and without control characters other than line breaks and tabs.
func clean(s string) string {
	ok := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 && c != '\n' && c != '\t' || c >= 0x7F {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7F && r < 0xA0 || r == utf8.RuneError {
			return '\uFFFD'
		}
		return r
	}, s)
}

// readName reads what a span is called.
func readName(record []byte) string {
	r := &reader{record}
	name := r.string()
	if strings.ContainsAny(name, " /") { // a method of HTTP, without a route, is all that has neither
		return name
	}
	_ = r.string()
	return fullName(name, r.attrs())
}

// fullName has the path, if a span of HTTP is called by its method alone: its route was not known.
func fullName(name string, attrs map[string]any) string {
	path, ok := attrs["url.path"].(string)
	if method, _ := attrs["http.request.method"].(string); !ok || method != name || name == "" {
		return name
	}
	return name + " " + path
}

var kinds = [...]string{0: control.SpanInternal, 1: control.SpanInternal, 2: control.SpanServer, 3: control.SpanClient, 4: control.SpanProducer, 5: control.SpanConsumer}

// readRecord makes a span of a record and its place in the index.
func readRecord(record []byte, at *ref, by peer) control.Span {
	r := &reader{record}
	s := control.Span{
		ID: hex.EncodeToString(at.id[:]), Name: r.string(), Service: by.service, Instance: by.instance, Kind: kinds[at.kind],
		Start: time.Unix(0, at.start).UTC(), Duration: time.Duration(at.end - at.start),
	}
	if at.parent != (spanID{}) {
		s.Parent = hex.EncodeToString(at.parent[:])
	}
	message := r.string()
	s.Attributes = r.attrs()
	s.Name = fullName(s.Name, s.Attributes)
	if at.flags&flagFailed != 0 {
		s.Code, s.Error = codeOf(s.Attributes), message
		for _, key := range []string{keyErrorMessage, keyErrorMessageOld} {
			if text, ok := s.Attributes[key].(string); ok && s.Error == "" {
				s.Error = text
			}
		}
		if status, ok := s.Attributes[keyHTTPStatus].(int64); ok && s.Error == "" {
			s.Error = "HTTP " + strconv.FormatInt(status, 10)
		}
		s.Error = withoutCode(s.Error, s.Code)
	}
	for range r.uvarint() {
		e := control.SpanEvent{Name: r.string()}
		e.Time = time.Unix(0, r.varint()).UTC()
		e.Attributes = r.attrs()
		if s.Error == "" || s.Error == s.Code {
			if text, ok := e.Attributes[keyErrorMessage].(string); ok && at.flags&flagFailed != 0 {
				s.Error = withoutCode(text, s.Code)
			}
		}
		s.Events = append(s.Events, e)
	}
	for range r.uvarint() {
		s.Links = append(s.Links, hex.EncodeToString(r.take(len(traceID{}))))
	}
	return s
}

// withoutCode is an error's text without the code that it begins with, which is told beside it; the code, if it is nothing else.
func withoutCode(text, code string) string {
	for {
		rest, ok := strings.CutPrefix(text, code+": ")
		if !ok {
			break
		}
		text = rest
	}
	return cmp.Or(text, code)
}

// codeOf is the code of a span that failed.
func codeOf(attrs map[string]any) string {
	for _, key := range []string{keyErrorType, keyStatusCode} {
		name, ok := attrs[key].(string)
		if status, err := strconv.Atoi(name); err == nil && status >= 100 && status < 600 {
			return failure.FromHTTPStatus(status).String()
		}
		if ok && name != "" {
			return name
		}
	}
	if n, ok := attrs[keyGRPCStatus].(int64); ok && n > 0 && n < 17 {
		return failure.Code(n).String()
	}
	return failure.Unknown.String()
}
