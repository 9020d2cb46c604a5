package holdfast

import (
	"testing"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/internal/fault"
)

// loaded is a server that has so much to do.
type loaded struct {
	inFlight int
	said     admission.Stats
}

func (l loaded) Counts() (inFlight int, handled uint64) { return l.inFlight, 100 }
func (l loaded) Stats() admission.Stats                 { return l.said }

// TestAProcessTellsItsServersApart: the limit of one that is overloaded is not lost in that of another one, which was never found.
func TestAProcessTellsItsServersApart(t *testing.T) {
	s := New("alpha")
	defer s.Close()
	s.watch(loaded{3, admission.Stats{Limit: 10_000}}, "grpc")
	s.watch(loaded{20, admission.Stats{Limit: 10, Found: 20, Waiting: 7}}, "http")
	st := s.stats()
	if st.InFlight != 23 || st.Waiting != 7 || st.Limit != 10_010 || st.Served != 200 {
		t.Errorf("together %+v", st)
	}
	grpc := fault.Server{Protocol: "grpc", InFlight: 3, Limit: 10_000}
	http := fault.Server{Protocol: "http", InFlight: 20, Waiting: 7, Limit: 10, Found: 20}
	if len(st.Servers) != 2 || st.Servers[0] != grpc || st.Servers[1] != http {
		t.Errorf("one by one %+v", st.Servers)
	}
}
