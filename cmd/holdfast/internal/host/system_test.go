//go:build unix

package host

import (
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/supervise"
	"github.com/holdfast-go/holdfast/platform/system"
)

// TestAnAnswerSaysAll that is known of why a command failed, and no more than is for the user.
func TestAnAnswerSaysAll(t *testing.T) {
	h := &Host{sys: &system.System{Name: "shop"}}
	crash := &supervise.CrashError{ID: "orders-1", Reason: "exit status 1"}
	for _, c := range []struct {
		err  error
		code failure.Code
		want string
	}{
		{failure.Wrap(crash, failure.FailedPrecondition, "orders-4 stays: %v", crash), failure.FailedPrecondition, "orders-4 stays: orders-1 keeps crashing: exit status 1"},
		{fmt.Errorf("inner words: %w", crash), failure.FailedPrecondition, "orders-1 keeps crashing: exit status 1"},
		{fmt.Errorf("inner words: %w", failure.New(failure.Aborted, "busy")), failure.Aborted, "busy"},
		{errors.New("no such file"), failure.FailedPrecondition, "no such file"},
	} {
		if got := failure.From(h.answer(c.err)); got.Code != c.code || got.Message != c.want {
			t.Errorf("%v: %v, %q", c.err, got.Code, got.Message)
		}
	}
}
