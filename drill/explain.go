package drill

import (
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/platform/control"
)

// after is for how long a fault that is over, or that does not last, is still looked at when a call fails.
const after = 5 * time.Second

// failures are the calls that failed, each with what was broken then and why it failed as far as is known.
func failures(r *report.Report, samples []load.Sample) (out []report.Failure, more int) {
	for _, s := range samples {
		if s.Outcome != load.Failed {
			continue
		}
		if len(out) == report.MaxFailures {
			more++
			continue
		}
		out = append(out, report.Failure{Sample: s, Explain: s.Error})
	}
	return out, more
}

func advise(r *report.Report, sc Scenario, info control.Info) []string { return nil }
