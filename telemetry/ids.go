package telemetry

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-go/holdfast/resilience"
)

// newTraceID and newSpanID draw ids. They are no secrets, and are drawn for every call.
func newTraceID() (id trace.TraceID) {
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()|1) //nolint:gosec // see above; never zero
	return id
}

func newSpanID() (id trace.SpanID) {
	binary.BigEndian.PutUint64(id[:], rand.Uint64()|1) //nolint:gosec // see above; never zero
	return id
}

// parentSize is that of a traceparent of version 00: 00-TRACE-SPAN-FLAGS.
const parentSize = 2 + 1 + 32 + 1 + 16 + 1 + 2

// sheet is where traceparents are written one after the other, so that most of them need no memory of their own. What was
// written stays as it is.
type sheet struct{ b strings.Builder }

const sheetSize = 64 * parentSize

var sheets = sync.Pool{New: func() any { return new(sheet) }}

// traceparent writes the header of W3C Trace Context.
func traceparent(id trace.TraceID, span trace.SpanID, sampled bool) string {
	var room [parentSize]byte
	copy(room[:], "00-")
	hex.Encode(room[3:], id[:])
	room[35] = '-'
	hex.Encode(room[36:], span[:])
	copy(room[52:], "-00")
	if sampled {
		room[54] = '1'
	}
	s := sheets.Get().(*sheet)
	if s.b.Cap()-s.b.Len() < parentSize {
		s.b = strings.Builder{}
		s.b.Grow(sheetSize)
	}
	s.b.Write(room[:])
	all := s.b.String()
	sheets.Put(s)
	return all[len(all)-parentSize:]
}

// maxState bounds what is read of a tracestate; by the specification 512 bytes have to be passed on at least.
const maxState = 1024

// parse reads what a call took along. What cannot be read counts as absent.
func parse(a resilience.Along) (trace.SpanContext, bool) {
	p := a.Traceparent
	if len(p) < parentSize || p[2] != '-' || p[35] != '-' || p[52] != '-' {
		return trace.SpanContext{}, false
	}
	var version, flags [1]byte
	var c trace.SpanContextConfig
	if !unhex(version[:], p[:2]) || version[0] == 0xff || !unhex(c.TraceID[:], p[3:35]) || !unhex(c.SpanID[:], p[36:52]) || !unhex(flags[:], p[53:55]) {
		return trace.SpanContext{}, false
	}
	if len(p) > parentSize && (version[0] == 0 || p[parentSize] != '-') {
		return trace.SpanContext{}, false
	}
	if !c.TraceID.IsValid() || !c.SpanID.IsValid() {
		return trace.SpanContext{}, false
	}
	c.TraceFlags = trace.TraceFlags(flags[0]) & trace.FlagsSampled
	c.Remote = true
	if a.Tracestate != "" && len(a.Tracestate) <= maxState {
		c.TraceState, _ = trace.ParseTraceState(a.Tracestate) // of one that is not well formed, none
	}
	return trace.NewSpanContext(c), true
}

// unhex reads lower-case hexadecimal digits: by the specification there are no others.
func unhex(dst []byte, s string) bool {
	wrong := byte(0)
	s = s[:2*len(dst)]
	for i := range dst {
		hi, lo := digits[s[2*i]], digits[s[2*i+1]]
		wrong |= hi | lo
		dst[i] = hi<<4 | lo
	}
	return wrong <= 0xf
}

// digits are the values of hexadecimal digits; more than 15 of what is none.
var digits = func() (all [256]byte) {
	for c := range all {
		all[c] = 0xff
	}
	for v, c := range []byte("0123456789abcdef") {
		all[c] = byte(v)
	}
	return all
}()
