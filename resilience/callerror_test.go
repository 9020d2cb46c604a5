package resilience

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/failure"
)

func failed() *CallError {
	refused := failure.New(failure.Unavailable, "dial tcp 127.0.0.1:4001: connection refused")
	last := failure.New(failure.NotFound, "no such product").WithReason("PRODUCT", "shop")
	return &CallError{
		Service: "inventory", Method: "/shop.Inventory/Reserve",
		Attempts: []Attempt{
			{Instance: "inventory-1", Addr: "127.0.0.1:4001", Duration: 300 * time.Microsecond, Err: refused, Sent: NotSent},
			{Instance: "inventory-2", Addr: "127.0.0.1:4002", Duration: 12345 * time.Microsecond, Err: last},
		},
		Stopped: StopFinal.String(), Remaining: 4321 * time.Millisecond, Err: last,
	}
}

func TestCallErrorNamesInstancesAndAttempts(t *testing.T) {
	err := failed()
	want := "call inventory /shop.Inventory/Reserve: " +
		"attempt 1 at inventory-1 (127.0.0.1:4001) after 300µs, not sent: " + err.Attempts[0].Err.Error() + "; " +
		"attempt 2 at inventory-2 (127.0.0.1:4002) after 12ms: " + err.Err.Error() + "; " +
		"no further attempt: another attempt would fail alike; 4.32s of the deadline left"
	if got := err.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, e := range []*CallError{
		{Service: "a", Method: "b", Err: failure.DeadlineExceeded},
		{Service: "a", Method: "b", Err: failure.Unavailable, Attempts: []Attempt{{Err: failure.Unavailable}}},
		{Service: "a", Method: "b", Err: failure.Unavailable, Attempts: []Attempt{{Addr: "x:1", Err: failure.Unavailable}}},
		{Service: "a", Method: "b", Err: failure.Unavailable, Attempts: []Attempt{{Instance: "a-1", Err: failure.Unavailable}}},
	} {
		if got := e.Error(); !strings.HasPrefix(got, "call a b: ") || !strings.Contains(got, e.Err.Error()) || strings.Contains(got, "\n") {
			t.Errorf("%s", got)
		}
	}
}

func TestCallErrorIsItsLastError(t *testing.T) {
	err := error(failed())
	if !errors.Is(err, failure.NotFound) || errors.Is(err, failure.Unavailable) || failure.CodeOf(err) != failure.NotFound {
		t.Errorf("%v is not NOT_FOUND", err)
	}
	if e := failure.From(err); e.Reason != "PRODUCT" || e.Domain != "shop" {
		t.Errorf("lost on the way: %+v", e)
	}
	if s, ok := status.FromError(fmt.Errorf("wrapped: %w", err)); !ok || s.Code() != codes.NotFound {
		t.Errorf("status %v, %v", s, ok)
	}
}

// A server may return the error of a call that it made. What its caller gets names no addresses.
func TestCallErrorKeepsAddressesFromTheWire(t *testing.T) {
	err := failed()
	if s, _ := status.FromError(err); s.Code() != codes.NotFound || s.Message() != "no such product" {
		t.Errorf("status %v", s)
	}
	err.Attempts, err.Err = err.Attempts[:1], err.Attempts[0].Err
	if s, _ := status.FromError(err); s.Code() != codes.Unavailable || strings.Contains(s.String(), "127.0.0.1") {
		t.Errorf("status %v", s)
	}
}

// Only one layer retries: a caller further out is told to come back later than its loop can wait, unless nothing has
// been tried because it was not safe here.
func TestCallErrorEndsTheLoopsOfItsCallers(t *testing.T) {
	soon := failure.New(failure.Unavailable, "busy").WithRetryAfter(5 * time.Second)
	for _, tt := range []struct {
		err  error
		stop Stop
		want time.Duration
	}{
		{failure.Unavailable, StopAttempts, time.Second},
		{failure.Unavailable, StopBudget, time.Second},
		{failure.Unavailable, StopUnsafe, 0},
		{soon, StopPushback, 5 * time.Second},
		{failure.DeadlineExceeded, StopDeadline, 0},
		{failure.NotFound, StopFinal, 0},
	} {
		err := &CallError{Service: "a", Method: "b", Err: tt.err, Stopped: tt.stop.String()}
		got := failure.From(fmt.Errorf("wrapped: %w", err)).RetryAfter
		if got != tt.want {
			t.Errorf("%v: callers are asked to wait %v, want %v", err, got, tt.want)
		}
		if tt.want > 0 && got <= (Backoff{}).defaults().Max {
			t.Errorf("%v: a loop waits %v", err, got)
		}
	}
}

func TestCallErrorLogsItsAttempts(t *testing.T) {
	var buf bytes.Buffer
	slog.New(slog.NewTextHandler(&buf, nil)).Error("x", "err", failed())
	for _, want := range []string{"err.service=inventory", "err.code=NOT_FOUND", "err.attempts.1.instance=inventory-1", `err.attempts.1.sent="not sent"`, "err.attempts.2.addr=127.0.0.1:4002"} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("no %s in %s", want, buf.String())
		}
	}
}

// What has refused a call on this side, and which attempts were hedges, is an attribute of the log.
func TestCallErrorSaysWhatRefusedIt(t *testing.T) {
	err := failed()
	err.RefusedBy, err.Attempts[1].Hedge = "budget", true
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Error("failed", "call", err)
	for _, want := range []string{"call.refused_by=budget", "call.instance=inventory-2", "call.attempts.2.hedge=true", "call.remaining=4.321s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is not in %s", want, b.String())
		}
	}
	if !strings.Contains(err.Error(), "; hedge 2 at inventory-2") {
		t.Error(err)
	}
}

// The reasons that Holdfast gives are about one hop. A server that passes the error on has begun with its own call.
func TestCallErrorDoesNotPassOurReasonsOn(t *testing.T) {
	for _, reason := range []string{failure.ReasonShed, failure.ReasonQuota, failure.ReasonThrottled} {
		err := &CallError{Service: "a", Method: "b", Err: failure.New(failure.ResourceExhausted, "no").WithReason(reason, failure.Domain)}
		if f := failure.FromStatus(err.GRPCStatus()); f.Reason != "" || f.Code != failure.ResourceExhausted {
			t.Errorf("%s is passed on as %v", reason, f)
		}
		if own := (*failure.Error)(nil); !errors.As(err, &own) || own.Reason != reason {
			t.Errorf("%s is kept from our own caller", reason)
		}
	}
}
