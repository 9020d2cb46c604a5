package failure

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// A status travels in HTTP/2 trailers, and peers refuse trailers they find too large (grpc-java: 8 KiB in all) with
// an error that hides ours. Details are given up before the code and the message are.
const (
	maxStatusMessage = 1 << 10
	maxStatusDetails = 4 << 10
)

// GRPCStatus is e as a gRPC status with ErrorInfo, BadRequest and RetryInfo details, without its Cause. What is too large
// for a trailer is cut: the message to 1 KiB, and details are left out (foreign ones, metadata, violations,
// in this order) until they take 4 KiB at most. Text that is not UTF-8 is repaired.
func (e *Error) GRPCStatus() *status.Status {
	if e == nil {
		return nil
	}
	p := &spb.Status{Code: int32(e.Code.failed()), Message: cut(valid(e.Message), maxStatusMessage)}
	room := maxStatusDetails
	add := func(m proto.Message) bool {
		a, err := anypb.New(m)
		if err != nil || proto.Size(a) > room {
			return false
		}
		room -= proto.Size(a)
		p.Details = append(p.Details, a)
		return true
	}
	if e.RetryAfter > 0 {
		add(&errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	if e.Reason != "" || e.Domain != "" || len(e.Metadata) > 0 {
		info := &errdetails.ErrorInfo{Reason: valid(e.Reason), Domain: valid(e.Domain)}
		for k, v := range e.Metadata {
			if info.Metadata == nil {
				info.Metadata = make(map[string]string, len(e.Metadata))
			}
			info.Metadata[valid(k)] = valid(v)
		}
		if !add(info) {
			info.Metadata = nil
			add(info)
		}
	}
	if len(e.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range e.Violations {
			bad.FieldViolations = append(bad.FieldViolations,
				&errdetails.BadRequest_FieldViolation{Field: valid(v.Field), Description: valid(v.Description)})
		}
		for len(bad.FieldViolations) > 0 && !add(bad) {
			bad.FieldViolations = bad.FieldViolations[:len(bad.FieldViolations)/2]
		}
	}
	for _, a := range e.foreign {
		if size := proto.Size(a); size <= room {
			room -= size
			p.Details = append(p.Details, a)
		}
	}
	return status.FromProto(p)
}

// Status is what a gRPC server should answer for err: nil for nil, which is OK; otherwise that of From(err).
func Status(err error) *status.Status {
	return From(err).GRPCStatus()
}

// FromStatus is the Error that s carries, or nil when s is nil or OK. Its Cause is nil. Unknown numbers are Unknown;
// details that Error has no field for are kept and sent again by GRPCStatus. It shares nothing with s.
func FromStatus(s *status.Status) *Error {
	if s == nil || s.Code() == 0 {
		return nil
	}
	return fromProto(s.Proto())
}

func fromProto(p *spb.Status) *Error {
	e := &Error{Code: Code(uint32(p.GetCode())).failed(), Message: p.GetMessage()} //nolint:gosec // a negative number is Unknown too
	for _, a := range p.GetDetails() {
		m, err := a.UnmarshalNew()
		if err != nil {
			e.foreign = append(e.foreign, proto.CloneOf(a))
			continue
		}
		switch d := m.(type) {
		case *errdetails.ErrorInfo:
			e.Reason, e.Domain = d.GetReason(), d.GetDomain()
			e.Metadata = maps.Clone(d.GetMetadata())
		case *errdetails.RetryInfo:
			if r := d.GetRetryDelay(); r.IsValid() {
				e.RetryAfter = max(0, r.AsDuration())
			}
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				e.Violations = append(e.Violations, Violation{Field: v.GetField(), Description: v.GetDescription()})
			}
		default:
			e.foreign = append(e.foreign, proto.CloneOf(a))
		}
	}
	e.Violations = slices.Clip(e.Violations)
	return e
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// cut shortens s to at most n bytes at the end of a rune and marks that it did.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const mark = "…"
	s = s[:n-len(mark)]
	for len(s) > 0 && !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + mark
}
