package telemetry

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// otlp sends spans by OTLP, with a client of OpenTelemetry's. It writes them itself, in protobuf's encoding, where the
// exporter of OpenTelemetry's makes some four objects of every attribute: spans are the most of what telemetry costs.
//
// What is written is handed to the client as fields that its message does not know, which protobuf passes on as they are.
type otlp struct{ client otlptrace.Client }

func newOTLP(ctx context.Context, client otlptrace.Client) (*otlp, error) {
	if err := client.Start(ctx); err != nil {
		return nil, fmt.Errorf("exporter of traces: %w", err)
	}
	return &otlp{client: client}, nil
}

// ExportSpans implements sdktrace.SpanExporter. Snapshots are used again after it.
func (o *otlp) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	var p parcel
	for _, s := range spans {
		w := write(s)
		p.add(w)
		w.recycle()
	}
	return o.send(ctx, &p)
}

// send sends what is in a parcel. If that fails, its memory is not to be used again: what a client does with a request that
// it gave up is not known.
func (o *otlp) send(ctx context.Context, p *parcel) error {
	if p.spans == 0 {
		return nil
	}
	return o.client.UploadTraces(ctx, []*tracepb.ResourceSpans{p.message()})
}

// Shutdown implements sdktrace.SpanExporter.
func (o *otlp) Shutdown(ctx context.Context) error { return o.client.Stop(ctx) }

// written is a span as it is sent.
type written struct {
	resource *resource.Resource
	own      bool                  // its scope is that of this package
	scope    instrumentation.Scope // if it is not

	span  []byte
	value []byte // for that of an attribute
}

var writtens = sync.Pool{New: func() any { return new(written) }}

// maxRoom is how much memory is kept for what is written.
const maxRoom = 16 << 10

// write writes a span. A snapshot is used again after it.
func write(s sdktrace.ReadOnlySpan) *written {
	w := writtens.Get().(*written)
	w.resource = s.Resource()
	own, ok := s.(*snapshot)
	if w.own = ok; !ok {
		w.scope = s.InstrumentationScope()
		w.scope.Attributes = attribute.Set{}
	}
	w.span = w.appendSpan(w.span[:0], s)
	if ok {
		own.recycle()
	}
	return w
}

// recycle has w used again.
func (w *written) recycle() {
	w.resource, w.scope = nil, instrumentation.Scope{}
	for _, b := range []*[]byte{&w.span, &w.value} {
		if cap(*b) > maxRoom {
			*b = nil
		}
	}
	writtens.Put(w)
}

// parcel is what is sent at once: spans of one resource, as they are sent. They are bytes, so that what waits is hardly any
// work for the garbage collector.
type parcel struct {
	spans, size int // how many, and their bytes
	resource    *resource.Resource
	own         []byte // those of this package
	others      map[instrumentation.Scope][]byte
}

// add takes a span. The resource is that of the first: in a process there is one.
func (p *parcel) add(w *written) {
	if p.spans == 0 {
		p.resource = w.resource
	}
	p.spans++
	p.size += len(w.span)
	if w.own {
		p.own = append(p.own, w.span...)
		return
	}
	if p.others == nil {
		p.others = make(map[instrumentation.Scope][]byte)
	}
	p.others[w.scope] = append(p.others[w.scope], w.span...)
}

// empty has p used again, unless one large span has made it large.
func (p *parcel) empty() {
	own := p.own[:0]
	if cap(own) > 2*maxBatchBytes {
		own = nil
	}
	*p = parcel{own: own}
}

// The numbers of the fields of Resource and of ScopeSpans.
const (
	ofResource = 1
	ofScope    = 2
)

// message returns what a client sends. It holds the parcel's memory.
func (p *parcel) message() *tracepb.ResourceSpans {
	var w written
	var about []byte
	for iter := p.resource.Iter(); iter.Next(); {
		about = w.appendAttribute(about, ofResource, iter.Attribute())
	}
	m := &tracepb.ResourceSpans{Resource: &resourcepb.Resource{}, SchemaUrl: p.resource.SchemaURL()}
	m.Resource.ProtoReflect().SetUnknown(about)
	add := func(in instrumentation.Scope, spans []byte) {
		of := &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: valid(in.Name), Version: valid(in.Version)}, SchemaUrl: in.SchemaURL}
		of.ProtoReflect().SetUnknown(spans)
		m.ScopeSpans = append(m.ScopeSpans, of)
	}
	if len(p.own) > 0 {
		add(instrumentation.Scope{Name: scope}, p.own)
	}
	for in, spans := range p.others {
		add(in, spans)
	}
	return m
}

// The numbers of the fields of opentelemetry.proto.trace.v1.
const (
	spanTraceID           = 1
	spanID                = 2
	spanTraceState        = 3
	spanParentID          = 4
	spanName              = 5
	spanKind              = 6
	spanStart             = 7
	spanEnd               = 8
	spanAttributes        = 9
	spanDroppedAttributes = 10
	spanEvents            = 11
	spanDroppedEvents     = 12
	spanLinks             = 13
	spanDroppedLinks      = 14
	spanStatus            = 15
	spanFlags             = 16

	flagHasRemote = 0x100 // that it is known whether the parent is remote
	flagRemote    = 0x200
)

// appendSpan appends s as a field of its scope.
func (w *written) appendSpan(b []byte, s sdktrace.ReadOnlySpan) []byte {
	b, at := open(b, ofScope)
	sc, parent := s.SpanContext(), s.Parent()
	id, span := sc.TraceID(), sc.SpanID()
	b = appendBytes(b, spanTraceID, id[:])
	b = appendBytes(b, spanID, span[:])
	b = appendString(b, spanTraceState, sc.TraceState().String())
	if up := parent.SpanID(); up.IsValid() {
		b = appendBytes(b, spanParentID, up[:])
	}
	b = appendString(b, spanName, valid(s.Name()))
	b = appendVarint(b, spanKind, uint64(s.SpanKind())) //nolint:gosec // an enum, of the same numbers
	b = appendTime(b, spanStart, s.StartTime())
	b = appendTime(b, spanEnd, s.EndTime())
	for _, kv := range s.Attributes() {
		b = w.appendAttribute(b, spanAttributes, kv)
	}
	b = appendVarint(b, spanDroppedAttributes, uint64(max(s.DroppedAttributes(), 0))) //nolint:gosec // not negative
	for _, e := range s.Events() {
		b = w.appendEvent(b, e)
	}
	b = appendVarint(b, spanDroppedEvents, uint64(max(s.DroppedEvents(), 0))) //nolint:gosec // not negative
	for _, l := range s.Links() {
		b = w.appendLink(b, l)
	}
	b = appendVarint(b, spanDroppedLinks, uint64(max(s.DroppedLinks(), 0))) //nolint:gosec // not negative
	b = appendStatus(b, s.Status())
	b = appendFlags(b, spanFlags, sc.TraceFlags(), parent)
	return shut(b, at)
}

func (w *written) appendEvent(b []byte, e sdktrace.Event) []byte {
	b, at := open(b, spanEvents)
	b = appendTime(b, 1, e.Time)
	b = appendString(b, 2, valid(e.Name))
	for _, kv := range e.Attributes {
		b = w.appendAttribute(b, 3, kv)
	}
	b = appendVarint(b, 4, uint64(max(e.DroppedAttributeCount, 0))) //nolint:gosec // not negative
	return shut(b, at)
}

func (w *written) appendLink(b []byte, l sdktrace.Link) []byte {
	b, at := open(b, spanLinks)
	id, span := l.SpanContext.TraceID(), l.SpanContext.SpanID()
	b = appendBytes(b, 1, id[:])
	b = appendBytes(b, 2, span[:])
	b = appendString(b, 3, l.SpanContext.TraceState().String())
	for _, kv := range l.Attributes {
		b = w.appendAttribute(b, 4, kv)
	}
	b = appendVarint(b, 5, uint64(max(l.DroppedAttributeCount, 0))) //nolint:gosec // not negative
	b = appendFlags(b, 6, l.SpanContext.TraceFlags(), l.SpanContext)
	return shut(b, at)
}

// statusCodes are OTLP's, of OpenTelemetry's.
var statusCodes = map[codes.Code]uint64{codes.Ok: 1, codes.Error: 2}

func appendStatus(b []byte, s sdktrace.Status) []byte {
	if s.Code == codes.Unset && s.Description == "" {
		return b
	}
	b, at := open(b, spanStatus)
	b = appendString(b, 2, valid(s.Description))
	b = appendVarint(b, 3, statusCodes[s.Code])
	return shut(b, at)
}

func appendFlags(b []byte, field protowire.Number, f trace.TraceFlags, of trace.SpanContext) []byte {
	v := uint32(f) | flagHasRemote
	if of.IsRemote() {
		v |= flagRemote
	}
	return protowire.AppendFixed32(protowire.AppendTag(b, field, protowire.Fixed32Type), v)
}

// appendAttribute appends a pair, as a field.
func (w *written) appendAttribute(b []byte, field protowire.Number, kv attribute.KeyValue) []byte {
	w.value = appendValue(w.value[:0], kv.Value)
	key := valid(string(kv.Key))
	size := 1 + protowire.SizeBytes(len(w.value)) // each tag is a byte
	if key != "" {
		size += 1 + protowire.SizeBytes(len(key))
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(size)) //nolint:gosec // not negative
	return appendBytes(appendString(b, 1, key), 2, w.value)
}

// appendValue appends what is in an AnyValue.
func appendValue(b []byte, v attribute.Value) []byte {
	switch v.Type() {
	case attribute.BOOL:
		return appendBool(b, v.AsBool())
	case attribute.INT64:
		return appendInt(b, v.AsInt64())
	case attribute.FLOAT64:
		return appendDouble(b, v.AsFloat64())
	case attribute.STRING:
		return appendText(b, v.AsString())
	case attribute.BOOLSLICE:
		return appendArray(b, v.AsBoolSlice(), appendBool)
	case attribute.INT64SLICE:
		return appendArray(b, v.AsInt64Slice(), appendInt)
	case attribute.FLOAT64SLICE:
		return appendArray(b, v.AsFloat64Slice(), appendDouble)
	case attribute.STRINGSLICE:
		return appendArray(b, v.AsStringSlice(), appendText)
	case attribute.EMPTY:
		return b
	default:
		return appendText(b, v.String())
	}
}

func appendText(b []byte, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), valid(s))
}

func appendBool(b []byte, v bool) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), protowire.EncodeBool(v))
}

func appendInt(b []byte, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), uint64(v)) //nolint:gosec // as int64 is encoded
}

func appendDouble(b []byte, v float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, 4, protowire.Fixed64Type), math.Float64bits(v))
}

func appendArray[T any](b []byte, values []T, one func([]byte, T) []byte) []byte {
	b, at := open(b, 5)
	for _, v := range values {
		var inner int
		b, inner = open(b, 1)
		b = shut(one(b, v), inner)
	}
	return shut(b, at)
}

// sizeRoom is what the length of a nested message takes, whatever it is: a varint may be longer than it need be.
const sizeRoom = 5

// open begins a nested message, and shut ends it, given where it began.
func open(b []byte, field protowire.Number) (out []byte, at int) {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = append(b, 0x80, 0x80, 0x80, 0x80, 0)
	return b, len(b)
}

func shut(b []byte, at int) []byte {
	n := len(b) - at
	for i := at - sizeRoom; i < at; i++ {
		b[i] = byte(n & 0x7f) //nolint:gosec // seven bits
		if n >>= 7; i < at-1 {
			b[i] |= 0x80
		}
	}
	return b
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendString(b []byte, field protowire.Number, v string) []byte {
	if v == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), uint64(max(t.UnixNano(), 0))) //nolint:gosec // not negative
}
