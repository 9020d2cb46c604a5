package check

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
)

// Claims that are too many to be kept are not taken for claims that are right.
func TestClaimsBeyondTheBoundAreSaid(t *testing.T) {
	t.Parallel()
	now := func() time.Duration { return time.Second }
	one, other := Instance{ID: "orders-1"}, Instance{ID: "orders-2"}
	leads := load.Sample{Outcome: load.OK, Kept: map[string]string{"leader": "true", "term": "1"}}
	l := &leader{claims: make([]claim, maxClaims-1), seen: make(map[string]bool)}
	l.quiet.begin(time.Second)
	l.note(one, time.Second, now, leads)
	if l.more != 0 {
		t.Errorf("%d claims were left out", l.more)
	}
	l.note(other, time.Second, now, leads)
	if len(l.claims) != maxClaims {
		t.Errorf("%d claims are kept", len(l.claims))
	}
	l.claims = l.claims[maxClaims-1:] // to judge all of them takes a while
	if v := l.Judge(t.Context(), nil); v.Answer != Unknown || !strings.Contains(v.Says, "1 later answers of leaders were too many") {
		t.Errorf("%+v", v)
	}
}
