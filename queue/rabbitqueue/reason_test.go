package rabbitqueue

import (
	"errors"
	"fmt"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/queue/driver"
)

func TestExplain(t *testing.T) {
	broker := func(code int, text string) error { return &amqp.Error{Code: code, Reason: text, Server: true} }
	kinds := []error{driver.ErrRefused, driver.ErrTooLarge, driver.ErrFull, driver.ErrLost, errMissing, errLocked, errLogin}
	for _, test := range []struct {
		err  error
		want error // one of kinds, or nil: it goes away by itself
	}{
		{broker(403, "ACCESS_REFUSED - access to exchange 'x'"), driver.ErrRefused},
		{broker(404, "NOT_FOUND - no queue 'q' in vhost '/'"), errMissing},
		{broker(405, "RESOURCE_LOCKED - cannot obtain exclusive access"), errLocked},
		{broker(406, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange"), driver.ErrRefused},
		{broker(406, "PRECONDITION_FAILED - message size 20971520 is larger than configured max size 16777216"), driver.ErrTooLarge},
		{broker(406, "PRECONDITION_FAILED - unknown delivery tag 7"), driver.ErrLost},
		{broker(406, "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 1800000 ms"), driver.ErrLost},
		{broker(311, "CONTENT_TOO_LARGE"), driver.ErrTooLarge},
		{broker(312, "NO_ROUTE"), errMissing},
		{broker(320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"), nil},
		{broker(402, "INVALID_PATH"), driver.ErrRefused},
		{broker(506, "RESOURCE_ERROR"), driver.ErrFull},
		{broker(530, "NOT_ALLOWED - vhost x not found"), driver.ErrRefused},
		{broker(540, "NOT_IMPLEMENTED"), driver.ErrRefused},
		{broker(541, "INTERNAL_ERROR"), nil},
		{amqp.ErrCredentials, errLogin},
		{amqp.ErrVhost, errLogin},
		{amqp.ErrSASL, driver.ErrRefused},
		{amqp.ErrClosed, nil},
		{&amqp.Error{Code: amqp.FrameError, Reason: "EOF"}, nil},
		{fmt.Errorf("declare: %w", broker(403, "no")), driver.ErrRefused},
		{errors.New("other"), nil},
	} {
		got := explain(test.err)
		for _, kind := range kinds {
			if errors.Is(got, kind) != (kind == test.want) { //nolint:errorlint // the same value
				t.Errorf("%v: is %v %v", test.err, kind, errors.Is(got, kind))
			}
		}
	}
	if explain(nil) != nil {
		t.Error("nothing is explained")
	}
	for text, want := range map[string]int{
		"message size 20971520 is larger than configured max size 16777216": 16777216,
		"message size 5 larger than max size 4":                             4,
		"something else":                                                    0,
	} {
		if got := largest(errors.New(text)); got != want {
			t.Errorf("%s: %d", text, got)
		}
	}
}
