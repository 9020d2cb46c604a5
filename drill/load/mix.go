package load

import (
	"math"
	"time"
)

// Mix is the load of a drill: how many calls a second over time, and of which kinds.
type Mix struct {
	// Steps are the rate over time, one after the other; the load lasts as long as they do.
	Steps []Step
	// Vars are drawn anew for each call, in the order of their names, and are there in every template as {{.name}}.
	Vars map[string]string
	// Calls are the kinds, drawn by their weights.
	Calls []Call
	// Seed of arrivals, kinds and templates: the same seed offers the same calls at the same times.
	Seed uint64
	// First is what {{seq}} begins with: load that goes on after other load begins where no number is used yet.
	First int64
}

// Step is a rate for a while: From calls a second at its beginning, To at its end, in a line.
type Step struct {
	For      time.Duration
	From, To float64
}

// Length returns how long the load lasts.
func (m Mix) Length() time.Duration {
	var sum time.Duration
	for _, s := range m.Steps {
		sum += s.For
	}
	return sum
}

// Rate returns how many calls a second are offered at a time; 0 after the end.
func (m Mix) Rate(at time.Duration) float64 {
	for _, s := range m.Steps {
		if at < s.For {
			return s.From + (s.To-s.From)*(at.Seconds()/s.For.Seconds())
		}
		at -= s.For
	}
	return 0
}

// Peak returns the highest rate.
func (m Mix) Peak() (most float64) {
	for _, s := range m.Steps {
		most = math.Max(most, math.Max(s.From, s.To))
	}
	return most
}

// Call is one kind of call: over HTTP if Path is set, over gRPC if GRPC is. Strings that say so are templates ([Template]).
type Call struct {
	Name string
	// Weight is its share of the calls, in any unit. It is not used outside a mix.
	Weight float64
	// Again is the share of these calls, in [0, 1], that are made a second time as soon as they have been answered, with the
	// same vars and the same key: users who click twice.
	Again float64

	// Method and Path (template; beginning with "/", with its query) are an HTTP request to Edge, which is a name in
	// Target.Edges; "" is the only one there is. A Path that is a whole URL goes there.
	Method string
	Path   string
	Edge   string
	Header map[string]string // values are templates
	// GRPC is SERVICE/package.Type/Method: whom to dial, and what to call. It has to be unary. Its types come from the
	// service itself, by reflection.
	GRPC string

	// Key (template) is the idempotency key: the header Idempotency-Key, or the metadata of that name. In other templates of
	// the call, and in those of invariants, it is {{.key}}.
	Key string
	// Body is a text, which is a template as a whole; or a map, a list, a number as YAML gives them, in which each string is
	// a template: it becomes JSON. A string there that is one {{int}} or one numeric variable becomes a number.
	Body any

	// Expect are the statuses that are good, and Refused those that are neither good nor bad: "201", "2xx", "NOT_FOUND",
	// each optionally followed by a space and a text that the answer has to contain ("409 OUT_OF_STOCK"). Empty Expect is
	// "2xx", "3xx" or "OK", but for a GET no 200 without a body: that is what a handler leaves behind that gave up. Anything
	// else is a failure.
	Expect  []string
	Refused []string
	// Keep takes values out of the answer, by their paths in it ([Path]). A good answer without one of them is a failure.
	Keep map[string]string
	// Timeout of the call. 0 is 10 s.
	Timeout time.Duration
}
