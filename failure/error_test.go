package failure_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/failure"
)

var errOutOfStock = failure.New(failure.FailedPrecondition, "out of stock").WithReason("OUT_OF_STOCK", "shop")

func TestIs(t *testing.T) {
	other := failure.New(failure.FailedPrecondition, "only 2 left").WithReason("OUT_OF_STOCK", "shop")
	plain := failure.New(failure.FailedPrecondition, "out of stock")
	for name, test := range map[string]struct {
		err, target error
		want        bool
	}{
		"code":                    {other, failure.FailedPrecondition, true},
		"another code":            {other, failure.NotFound, false},
		"wrapped code":            {fmt.Errorf("x: %w", other), failure.FailedPrecondition, true},
		"same name":               {other, errOutOfStock, true},
		"other name":              {other.WithReason("CLOSED", "shop"), errOutOfStock, false},
		"other domain":            {other.WithReason("OUT_OF_STOCK", "bar"), errOutOfStock, false},
		"name with another code":  {&failure.Error{Code: failure.Aborted, Reason: "OUT_OF_STOCK", Domain: "shop"}, errOutOfStock, false},
		"no name is nobody else":  {failure.New(failure.FailedPrecondition, "out of stock"), plain, false},
		"no name is itself":       {fmt.Errorf("x: %w", plain), plain, true},
		"cause":                   {failure.Wrap(context.Canceled, failure.Aborted, "x"), context.Canceled, true},
		"over gRPC":               {failure.FromStatus(other.GRPCStatus()), errOutOfStock, true},
		"over HTTP":               {failure.ProblemOf(other).Err(), errOutOfStock, true},
		"received and wrapped":    {fmt.Errorf("x: %w", failure.From(other.GRPCStatus().Err())), errOutOfStock, true},
		"nil target is no reason": {other, (*failure.Error)(nil), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := errors.Is(test.err, test.target); got != test.want {
				t.Errorf("errors.Is(%v, %v) = %v", test.err, test.target, got)
			}
		})
	}
}

func TestFrom(t *testing.T) {
	e := failure.New(failure.NotFound, "no product 7")
	if got := failure.From(fmt.Errorf("loading: %w", e)); got != e {
		t.Errorf("From of a wrapped Error is not that Error: %v", got)
	}

	st := status.Error(codes.Unavailable, "come back")
	wrapped := fmt.Errorf("calling: %w", st)
	got := failure.From(wrapped)
	if got.Code != failure.Unavailable || got.Message != "come back" || !errors.Is(got, st) {
		t.Errorf("From of a status = %+v", got)
	}

	secret := errors.New("password of db1 is wrong")
	got = failure.From(secret)
	if got.Code != failure.Unknown || got.Message != "" || !errors.Is(got, secret) {
		t.Errorf("From of a plain error = %+v", got)
	}
}

func TestCausesStayHere(t *testing.T) {
	secret := errors.New("password of db1 is wrong")
	for _, err := range []error{secret, failure.Wrap(secret, failure.Internal, "try later"), fmt.Errorf("x: %w", secret)} {
		wire := failure.Status(err).Proto().String() + fmt.Sprintf("%+v", failure.ProblemOf(err))
		if strings.Contains(wire, "password") {
			t.Errorf("%v is sent as %s", err, wire)
		}
	}
}

func TestWithLeavesTheOriginalAlone(t *testing.T) {
	base := failure.New(failure.InvalidArgument, "no").WithMetadata("a", "1").WithViolation("x", "is wrong")
	before := *base
	before.Metadata = map[string]string{"a": "1"}
	before.Violations = []failure.Violation{{Field: "x", Description: "is wrong"}}

	cause := errors.New("cause")
	one := base.WithMetadata("b", "2").WithViolation("y", "is %d too large", 3).With("other").WithReason("R", "d").
		WithRetryAfter(time.Second).WithCause(cause)
	two := base.WithViolation("z", "too") // must not share one's backing array

	if !reflect.DeepEqual(*base, before) {
		t.Errorf("base is now %+v", base)
	}
	want := &failure.Error{
		Code: failure.InvalidArgument, Message: "other", Reason: "R", Domain: "d",
		Metadata:   map[string]string{"a": "1", "b": "2"},
		Violations: []failure.Violation{{"x", "is wrong"}, {"y", "is 3 too large"}},
		RetryAfter: time.Second, Cause: cause,
	}
	if !reflect.DeepEqual(one, want) {
		t.Errorf("got %+v, want %+v", one, want)
	}
	if two.Violations[1].Field != "z" || one.Violations[1].Field != "y" {
		t.Errorf("copies share violations: %v, %v", one.Violations, two.Violations)
	}
}

func TestText(t *testing.T) {
	for want, err := range map[string]*failure.Error{
		"NOT_FOUND: no product 7":               failure.New(failure.NotFound, "no product %d", 7),
		"NOT_FOUND: 100%":                       failure.New(failure.NotFound, "100%"),
		"NOT_FOUND: no product 7: sql: no rows": failure.Wrap(errors.New("sql: no rows"), failure.NotFound, "no product 7"),
		"INVALID_ARGUMENT: order: quantity must be positive, currency is unknown": failure.New(failure.InvalidArgument, "order").
			WithViolation("quantity", "must be positive").WithViolation("currency", "is unknown"),
		"CANCELLED: context canceled": failure.Wrap(context.Canceled, failure.Canceled, "context canceled"),
		"UNKNOWN":                     {},
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestLogValue(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	log.Info("x", "error", errOutOfStock.WithRetryAfter(time.Second).WithMetadata("left", "2").
		WithViolation("quantity", "too many").WithCause(errors.New("shelf empty")))
	log.Info("y", "error", &failure.Error{})
	want := `level=INFO msg=x error.code=FAILED_PRECONDITION error.message="out of stock" error.reason=OUT_OF_STOCK ` +
		`error.domain=shop error.metadata=map[left:2] error.violations="[{Field:quantity Description:too many}]" ` +
		`error.retry_after=1s error.cause="shelf empty"` + "\nlevel=INFO msg=y error.code=UNKNOWN\n"
	if got := b.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
