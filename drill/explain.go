package drill

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/platform/control"
)

// after is for how long a fault that is over, or that does not last, is still looked at when a call fails.
const after = 5 * time.Second

// failures are calls that failed, each with what was broken then and why it failed as far as is known. If there are more than a
// report takes, each kind of failure is there with some, spread over the drill.
func failures(r *report.Report, samples []load.Sample, e *explainer) (out []report.Failure, more int) {
	type kind struct{ call, status string }
	of := make(map[kind][]load.Sample)
	var kinds []kind
	total := 0
	for _, s := range samples {
		if s.Outcome != load.Failed {
			continue
		}
		k := kind{s.Call, s.Status}
		if of[k] == nil {
			kinds = append(kinds, k)
		}
		of[k] = append(of[k], s)
		total++
	}
	var chosen []load.Sample
	slices.SortStableFunc(kinds, func(a, b kind) int { return len(of[a]) - len(of[b]) }) // the rare ones leave room
	for i, k := range kinds {
		room := (report.MaxFailures - len(chosen)) / (len(kinds) - i) // what some leave is shared by those that come
		chosen = append(chosen, spread(of[k], room)...)
	}
	slices.SortStableFunc(chosen, func(a, b load.Sample) int { return int(a.Due - b.Due) })
	for _, s := range chosen {
		out = append(out, report.Failure{Sample: s, During: during(r.Faults, s), Explain: e.explain(s)})
	}
	return out, total - len(out)
}

// spread takes at most n, as far from each other as can be.
func spread(samples []load.Sample, n int) []load.Sample {
	if len(samples) <= n {
		return samples
	}
	out := make([]load.Sample, 0, n)
	for i := range n {
		out = append(out, samples[i*len(samples)/n])
	}
	return out
}

// during are the faults that were in force while a call was under way, or had begun or ended not long before.
func during(faults []report.Fault, s load.Sample) (out []string) {
	for _, f := range faults {
		if inForce(f, s) {
			out = append(out, f.What)
		}
	}
	return out
}

func inForce(f report.Fault, s load.Sample) bool {
	return f.Begun <= s.Due+s.Took && s.Due <= max(f.Begun, f.Ended)+after
}

// explainer knows what explains a failure. It only reads.
type explainer struct {
	faults   []report.Fault
	lanes    []report.Instance
	services map[string][]string // instances, by service
	calls    map[string]load.Call
	first    time.Duration // when the first fault began; 0 is never
}

func newExplainer(r *report.Report, sc Scenario, w inject.World) *explainer {
	e := &explainer{faults: r.Faults, lanes: r.Instances, services: make(map[string][]string), calls: make(map[string]load.Call)}
	for _, s := range w.Services {
		e.services[s.Name] = s.Instances
	}
	for _, c := range sc.Load.Calls {
		e.calls[c.Name] = c
	}
	for _, f := range r.Faults {
		if e.first == 0 || f.Begun < e.first {
			e.first = f.Begun
		}
	}
	return e
}

// explain says in plain words why a call failed, as far as that is known: what was broken then, and what came back. Calls that
// failed for the same reason have the same explanation.
func (e *explainer) explain(s load.Sample) string {
	calm := e.first == 0 || s.Due+s.Took < e.first
	switch {
	case wrongCall(s) && calm:
		return e.answer(s) + " Nothing was broken yet: it is the call that is wrong, or what it expects."
	case wrongCall(s):
		return e.answer(s) + " An answer like this is about the call, not about what is broken; if it is right, the drill should list it under refused."
	case calm:
		return e.answer(s) + " Nothing was broken yet: the system fails by itself."
	}
	return strings.Join(append(e.circumstances(s), e.answer(s)), " ")
}

// problem is what an answer says of itself: RFC 9457, as Holdfast and others write it.
type problem struct {
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Errors []struct {
		Field       string `json:"field"`
		Description string `json:"description"`
	} `json:"errors"`
}

// reason is what the answer says, in its own words.
func reason(s load.Sample) string {
	text := strings.TrimSpace(s.Error)
	var p problem
	if strings.HasPrefix(text, "{") && json.Unmarshal([]byte(text), &p) == nil && p.Detail+p.Title != "" {
		text = p.Detail
		if text == "" {
			text = p.Title
		}
		for _, e := range p.Errors {
			text += "; " + e.Field + " " + e.Description
		}
	}
	if s.Status != "" {
		text = strings.TrimPrefix(text, s.Status+": ")
	}
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > 300 {
		text = string(r[:299]) + "…"
	}
	return strings.TrimRight(text, ".")
}

// answer says what came back.
func (e *explainer) answer(s load.Sample) string {
	why := reason(s)
	if why != "" {
		why = ": " + why
	}
	if s.Empty {
		return "The answer was 200 and nothing else, as some frameworks write for a handler that gave up."
	}
	switch s.Status {
	case "":
		switch {
		case isTimeout(s.Error):
			return fmt.Sprintf("No answer came in time; it may have been carried out%s.", why)
		case strings.Contains(s.Error, "refused"):
			return fmt.Sprintf("Nobody listened%s.", why)
		}
		return fmt.Sprintf("The connection broke before an answer came; it may have been carried out%s.", why)
	case "503", "UNAVAILABLE":
		return fmt.Sprintf("The system said that it cannot do this now%s.", why)
	case "504", "DEADLINE_EXCEEDED":
		return fmt.Sprintf("The system gave up waiting%s.", why)
	case "429", "RESOURCE_EXHAUSTED":
		return fmt.Sprintf("The system turned it away, to have room for others%s.", why)
	case "500", "INTERNAL", "UNKNOWN":
		return fmt.Sprintf("The system failed in a way that nobody has thought of%s.", why)
	case "502":
		return fmt.Sprintf("The answer was lost on the way%s.", why)
	}
	return fmt.Sprintf("The answer was %s%s.", s.Status, why)
}

func isTimeout(text string) bool {
	return strings.Contains(text, "deadline exceeded") || strings.Contains(text, "Timeout") || strings.Contains(text, "timeout")
}

// wrongCall reports whether the answer is about the call, and not about how the system is.
func wrongCall(s load.Sample) bool {
	if s.Empty {
		return false
	}
	switch s.Status {
	case "400", "401", "403", "404", "405", "406", "409", "410", "411", "412", "413", "414", "415", "422",
		"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED", "UNAUTHENTICATED":
		return true
	}
	return strings.HasPrefix(s.Status, "2") || strings.HasPrefix(s.Status, "3") || s.Status == "OK"
}

// circumstances say how the system was while the call was under way.
func (e *explainer) circumstances(s load.Sample) (out []string) {
	for _, name := range sortedKeys(e.services) {
		ids := e.services[name]
		hit := e.hit(ids, s)
		if len(hit) == 0 {
			continue
		}
		who := strings.Join(hit, ", ")
		if !e.meant(hit, s) {
			if f, late := e.late(hit, s); late > 0 {
				out = append(out, fmt.Sprintf("%s was not back yet, %s after: %s.", who, inject.Span(late.Round(slot)), f.What))
			} else {
				out = append(out, fmt.Sprintf("%s was not ready, though no fault was about it.", who))
			}
			continue
		}
		switch n := len(ids); {
		case name == control.ControlService && len(hit) > inject.Minority(n):
			out = append(out, fmt.Sprintf("The control plane, which is registry and broker, was away or impaired (%s).", who))
		case len(hit) == n && n == 1:
			out = append(out, fmt.Sprintf("%s was the only instance of %s, and was hit: nobody could stand in for it.", who, name))
		case len(hit) == n:
			out = append(out, fmt.Sprintf("All %d instances of %s were hit: nobody could stand in for them.", n, name))
		case n >= 3 && len(hit) > inject.Minority(n):
			out = append(out, fmt.Sprintf("%d of the %d instances of %s were hit (%s): what they keep together takes most of them.", len(hit), n, name, who))
		default:
			out = append(out, fmt.Sprintf("%s was hit, while %d of %s were well.", who, n-len(hit), name))
		}
	}
	if unknown, f := e.forgotten(s); unknown {
		out = append(out, fmt.Sprintf("No instance was known any more, which began after: %s.", f.What))
	}
	if len(out) == 0 {
		if before := during(e.faults, s); len(before) > 0 {
			return append(out, fmt.Sprintf("Every instance was ready. Not long before: %s.", strings.Join(before, "; ")))
		}
		return append(out, "Nothing was broken at the time, or just before: the system failed by itself, or had not recovered yet.")
	}
	if unsafeCall(e.calls[s.Call]) && (s.Status == "" || s.Status == "502" || s.Status == "503" || s.Status == "UNAVAILABLE" || s.Status == "UNKNOWN") {
		out = append(out, "It has no idempotency key, so nobody may send it again: it could happen twice.")
	}
	return out
}

// forgotten reports whether a call failed because nobody knew an instance, after a fault of the registry; that may be long over.
func (e *explainer) forgotten(s load.Sample) (bool, report.Fault) {
	text := strings.ToLower(s.Error)
	if !slices.ContainsFunc([]string{"no children to pick from", "zero addresses", "no instance", "no healthy upstream", "no such host"}, func(sign string) bool { return strings.Contains(text, sign) }) {
		return false, report.Fault{}
	}
	for _, f := range e.faults {
		ofControl := slices.ContainsFunc(f.Target, func(id string) bool { return slices.Contains(e.services[control.ControlService], id) })
		if (f.Kind == string(inject.Registry) || ofControl) && f.Begun <= s.Due+s.Took {
			return true, f
		}
	}
	return false, report.Fault{}
}

// hit are those of some instances that a fault hit while a call was under way, or that were not ready.
func (e *explainer) hit(ids []string, s load.Sample) (out []string) {
	for _, id := range ids {
		bad := slices.ContainsFunc(e.faults, func(f report.Fault) bool {
			// A rolling restart takes one at a time, which is seen by its state.
			return f.Kind != string(inject.Restart) && slices.Contains(f.Target, id) && f.Begun <= s.Due+s.Took && s.Due <= max(f.Begun, f.Ended)+slot
		})
		if _, away := e.away(id, s); bad || away {
			out = append(out, id)
		}
	}
	return out
}

// meant reports whether any of some instances was named by a fault that was in force, or not long before.
func (e *explainer) meant(ids []string, s load.Sample) bool {
	return slices.ContainsFunc(e.faults, func(f report.Fault) bool {
		return inForce(f, s) && slices.ContainsFunc(f.Target, func(id string) bool { return slices.Contains(ids, id) })
	})
}

// late returns the fault that some instances went away with, all of them before a call, and how long before it that was over:
// they were not back yet. It is 0 where any of them went away by itself.
func (e *explainer) late(ids []string, s load.Sample) (fault report.Fault, by time.Duration) {
	for _, id := range ids {
		since, away := e.away(id, s)
		i := slices.IndexFunc(e.faults, func(f report.Fault) bool {
			return away && slices.Contains(f.Target, id) && f.Begun <= since+slot && since <= max(f.Begun, f.Ended)+slot
		})
		if i < 0 {
			return report.Fault{}, 0
		}
		f := e.faults[i]
		if over := s.Due - max(f.Begun, f.Ended); over > by {
			fault, by = f, over
		}
	}
	return fault, by
}

// away reports whether an instance was not ready at any time while a call was under way, and since when it had not been.
func (e *explainer) away(id string, s load.Sample) (since time.Duration, away bool) {
	for _, lane := range e.lanes {
		if lane.ID != id {
			continue
		}
		was := true // ready, in the phase before
		for i, p := range lane.Phases {
			until := time.Duration(1<<63 - 1)
			if i+1 < len(lane.Phases) {
				until = lane.Phases[i+1].From
			}
			ready := p.State == "ready"
			if was && !ready {
				since = p.From
			}
			if !ready && p.From <= s.Due+s.Took && s.Due <= until {
				return since, true
			}
			was = ready
		}
	}
	return 0, false
}

// unsafeCall reports whether a call may not be repeated by whoever does not know what it does.
func unsafeCall(c load.Call) bool {
	return (c.Method == http.MethodPost || c.Method == http.MethodPatch || c.GRPC != "") && c.Key == ""
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
