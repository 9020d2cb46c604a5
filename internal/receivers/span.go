//go:build unix

package receivers

import (
	"encoding/hex"
	"fmt"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
)

// Trace returns the id of the trace in hexadecimal.
func (s Span) Trace() string { return hex.EncodeToString(s.GetTraceId()) }

// ID returns the id of the span in hexadecimal.
func (s Span) ID() string { return hex.EncodeToString(s.GetSpanId()) }

// Parent returns the id of the parent in hexadecimal, "" of a root.
func (s Span) Parent() string { return hex.EncodeToString(s.GetParentSpanId()) }

// Attribute returns the text of an attribute, "" if there is none of this name.
func (s Span) Attribute(name string) string { return attributes(s.GetAttributes())[name] }

// String is for messages of tests.
func (s Span) String() string {
	return fmt.Sprintf("%s %s %q id %s parent %s %v", s.Service, s.GetKind(), s.GetName(), s.ID(), s.Parent(), attributes(s.GetAttributes()))
}

// attributes returns the values as texts, lists as Go prints them.
func attributes(kvs []*commonpb.KeyValue) map[string]string {
	out := make(map[string]string, len(kvs))
	for _, kv := range kvs {
		out[kv.GetKey()] = text(kv.GetValue())
	}
	return out
}

func text(v *commonpb.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *commonpb.AnyValue_DoubleValue:
		return fmt.Sprint(v.DoubleValue)
	case *commonpb.AnyValue_ArrayValue:
		var list []string
		for _, e := range v.ArrayValue.GetValues() {
			list = append(list, text(e))
		}
		return fmt.Sprint(list)
	default:
		return ""
	}
}
