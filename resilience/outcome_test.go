package resilience

import (
	"testing"

	"github.com/holdfast-go/holdfast/failure"

	"github.com/holdfast-go/holdfast/balance"
)

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		code    failure.Code
		sent    Sent
		bounded bool
		want    Outcome
	}{
		{failure.OK, MaybeSent, true, OK},
		{failure.Unavailable, NotSent, true, Unsent},
		{failure.Unavailable, NotSent, false, Unsent},
		{failure.Unavailable, MaybeSent, true, Unavailable},
		{failure.DeadlineExceeded, MaybeSent, true, AttemptTimeout},
		{failure.DeadlineExceeded, MaybeSent, false, DeadlineExceeded},
		{failure.DeadlineExceeded, NotSent, true, AttemptTimeout},
		{failure.Canceled, NotSent, true, Canceled},
		// Too large or not encodable: not sent, and never will be.
		{failure.ResourceExhausted, NotSent, true, Exhausted},
		{failure.Internal, NotSent, true, Fault},
		{failure.Unknown, MaybeSent, true, Fault},
		{failure.DataLoss, MaybeSent, true, Fault},
		{failure.Aborted, MaybeSent, true, Aborted},
		{failure.PermissionDenied, MaybeSent, true, Denied},
		{failure.Unauthenticated, MaybeSent, true, Denied},
		{failure.InvalidArgument, MaybeSent, true, Refused},
		{failure.NotFound, MaybeSent, true, Refused},
		{failure.AlreadyExists, MaybeSent, true, Refused},
		{failure.FailedPrecondition, MaybeSent, true, Refused},
		{failure.OutOfRange, MaybeSent, true, Refused},
		{failure.Unimplemented, MaybeSent, true, Refused},
		{failure.Code(99), MaybeSent, true, Fault},
	} {
		if got := Classify(tt.code, tt.sent, tt.bounded); got != tt.want {
			t.Errorf("%v, %v, bounded %v: %v, want %v", tt.code, tt.sent, tt.bounded, got, tt.want)
		}
	}
}

// What holds for every row of the table, whatever it says.
func TestOutcomeTableIsConsistent(t *testing.T) {
	for o := range outcomes {
		v := o.Verdict()
		if o.String() == "" {
			t.Errorf("outcome %d has no name", o)
		}
		if v.RetryUnsafe && (o != Unsent && o != NoInstance && o != Shed || v.Sample != balance.None) {
			t.Errorf("%v: what may have run is tried again although it is not safe", o)
		}
		if v.RetryUnsafe && !v.RetrySafe {
			t.Errorf("%v: tried again only if it is not safe", o)
		}
		if v.Cost != 0 && !v.RetrySafe {
			t.Errorf("%v: costs %d and is never tried again", o, v.Cost)
		}
		if v.RetrySafe && o != Unsent && o != NoInstance && v.Cost == 0 {
			t.Errorf("%v: loads an instance again for nothing", o)
		}
		if v.RetrySafe && o != Unsent && o != NoInstance && o != UnderWay && v.Throttle != Reject { // that has waited there
			t.Errorf("%v: tried again, and not counted as refused", o)
		}
		if v.Health == balance.Bad && v.Throttle != Reject && o != Unsent || v.Health == balance.Good && v.Throttle != Accept {
			t.Errorf("%v: %v and %v contradict each other", o, v.Health, v.Throttle)
		}
		if v.Answer && v.RetrySafe || o == OK && !v.Answer {
			t.Errorf("%v: decides the call, and is tried again", o)
		}
		if v.Cost > reserve {
			t.Errorf("%v: costs %d, more than is held for it", o, v.Cost)
		}
	}
	if got := Outcome(200); got.Verdict() != Fault.Verdict() || got.String() != "fault" {
		t.Errorf("an unknown outcome is %v", got)
	}
}
