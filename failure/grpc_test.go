package failure_test

import (
	"maps"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/failure"
)

// errorGen draws Errors that fit a trailer as they are. Absent collections are nil, as they are on arrival.
func errorGen() *rapid.Generator[*failure.Error] {
	return rapid.Custom(func(t *rapid.T) *failure.Error {
		text := rapid.StringN(0, 20, 60)
		e := &failure.Error{
			Code:       failure.Code(rapid.Uint32Range(1, uint32(lastCode)).Draw(t, "code")),
			Message:    text.Draw(t, "message"),
			Reason:     text.Draw(t, "reason"),
			Domain:     text.Draw(t, "domain"),
			RetryAfter: time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "retry after")),
		}
		if m := rapid.MapOfN(text, text, 0, 5).Draw(t, "metadata"); len(m) > 0 {
			e.Metadata = m
		}
		v := rapid.Custom(func(t *rapid.T) failure.Violation {
			return failure.Violation{Field: text.Draw(t, "field"), Description: text.Draw(t, "description")}
		})
		if vs := rapid.SliceOfN(v, 0, 5).Draw(t, "violations"); len(vs) > 0 {
			e.Violations = vs
		}
		return e
	})
}

func TestStatusRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := errorGen().Draw(t, "error")
		b, err := proto.Marshal(e.GRPCStatus().Proto())
		if err != nil {
			t.Fatal(err)
		}
		var p spb.Status
		if err := proto.Unmarshal(b, &p); err != nil {
			t.Fatal(err)
		}
		if got := failure.FromStatus(status.FromProto(&p)); !reflect.DeepEqual(got, e) {
			t.Fatalf("sent %+v\ngot  %+v", e, got)
		}
	})
}

// A status, turned into a problem by a gateway and back again, says the same as before (to the millisecond).
func TestStatusProblemStatusRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := errorGen().Draw(t, "error")
		e.RetryAfter = e.RetryAfter.Truncate(time.Millisecond)
		got := failure.FromStatus(failure.Status(readBack(t, failure.FromStatus(e.GRPCStatus()))))
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("sent %+v\ngot  %+v", e, got)
		}
	})
}

func TestForeignDetailsArePassedOn(t *testing.T) {
	st, err := status.New(codes.NotFound, "gone").WithDetails(
		&errdetails.Help{Links: []*errdetails.Help_Link{{Url: "https://example.org"}}},
		&errdetails.ErrorInfo{Reason: "GONE", Domain: "shop"},
	)
	if err != nil {
		t.Fatal(err)
	}
	p := st.Proto()
	p.Details = append(p.Details, &anypb.Any{TypeUrl: "type.example.org/nobody.knows.It", Value: []byte{1, 2}})

	e := failure.FromStatus(status.FromProto(p))
	if e.Reason != "GONE" {
		t.Errorf("reason is %q", e.Reason)
	}
	got := failure.Status(e.With("gone for good")).Proto()
	if len(got.Details) != 3 || got.Message != "gone for good" {
		t.Fatalf("sent on as %v", got)
	}
	// Ours come first.
	if !proto.Equal(got.Details[1], p.Details[0]) || !proto.Equal(got.Details[2], p.Details[2]) {
		t.Errorf("sent on as %v", got)
	}
}

func TestTooLargeForATrailer(t *testing.T) {
	big := strings.Repeat("ü", 5000)
	e := failure.New(failure.InvalidArgument, "%s", big).WithReason("BIG", "shop").WithMetadata("k", big).WithRetryAfter(time.Second)
	for range 1000 {
		e.Violations = append(e.Violations, failure.Violation{Field: "field", Description: "wrong"})
	}
	st := e.GRPCStatus()
	if size := proto.Size(st.Proto()); size > 6<<10 {
		t.Errorf("status takes %d bytes", size)
	}
	got := failure.FromStatus(st)
	if got.Code != e.Code || got.RetryAfter != e.RetryAfter || got.Reason != e.Reason || got.Domain != e.Domain {
		t.Errorf("what matters was cut: %+v", got)
	}
	if got.Metadata != nil || len(got.Violations) < 20 {
		t.Errorf("%d metadata and %d violations are left", len(got.Metadata), len(got.Violations))
	}
	if want := strings.Repeat("ü", 510) + "…"; got.Message != want {
		t.Errorf("message was cut to %q", got.Message)
	}
}

func TestTextThatIsNoTextIsRepaired(t *testing.T) {
	bad := "a\xffb"
	e := failure.New(failure.Internal, "%s", bad).WithReason(bad, bad).WithMetadata(bad, bad).WithViolation(bad, "%s", bad)
	if _, err := proto.Marshal(e.GRPCStatus().Proto()); err != nil {
		t.Fatal(err)
	}
	got := failure.FromStatus(e.GRPCStatus())
	const want = "a\uFFFDb"
	if got.Message != want || got.Reason != want || !maps.Equal(got.Metadata, map[string]string{want: want}) || len(got.Violations) != 1 {
		t.Errorf("arrives as %+v", got)
	}
}

func TestNilAndOKAreNoFailure(t *testing.T) {
	if e := failure.FromStatus(nil); e != nil {
		t.Errorf("FromStatus(nil) = %v", e)
	}
	if e := failure.FromStatus(status.New(codes.OK, "fine")); e != nil {
		t.Errorf("FromStatus(OK) = %v", e)
	}
	if s := failure.Status(nil); s.Code() != codes.OK {
		t.Errorf("Status(nil) = %v", s)
	}
}

func FuzzFromStatus(f *testing.F) {
	seed := func(p *spb.Status) {
		b, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	seed(errOutOfStock.WithRetryAfter(time.Second).WithMetadata("a", "b").WithViolation("f", "d").GRPCStatus().Proto())
	seed(&spb.Status{Code: -1, Message: "x"})
	seed(&spb.Status{Code: 5, Details: []*anypb.Any{{TypeUrl: "x/google.rpc.RetryInfo", Value: []byte{255}}, {}}})
	for _, d := range []*durationpb.Duration{nil, {Seconds: -5}, {Seconds: math.MaxInt64}, {Seconds: 315576000000}, {Nanos: -1}} {
		a, err := anypb.New(&errdetails.RetryInfo{RetryDelay: d})
		if err != nil {
			f.Fatal(err)
		}
		seed(&spb.Status{Code: 14, Details: []*anypb.Any{a}})
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p spb.Status
		if proto.Unmarshal(b, &p) != nil {
			return
		}
		e := failure.FromStatus(status.FromProto(&p))
		if (e == nil) != (p.GetCode() == 0) {
			t.Fatalf("FromStatus(%v) = %v", &p, e)
		}
		if e == nil {
			return
		}
		if e.RetryAfter < 0 || e.Code == failure.OK || e.Code > lastCode {
			t.Fatalf("FromStatus(%v) = %+v", &p, e)
		}
		sent := e.GRPCStatus()
		if size := proto.Size(sent.Proto()); size > 6<<10 {
			t.Fatalf("sent on with %d bytes", size)
		}
		// Once cut to size it arrives as it was sent, hop after hop.
		once := failure.FromStatus(sent)
		twice := failure.FromStatus(once.GRPCStatus())
		if once.Error() != twice.Error() || !reflect.DeepEqual(failure.ProblemOf(once), failure.ProblemOf(twice)) {
			t.Fatalf("first hop %+v\nsecond hop %+v", once, twice)
		}
	})
}
