package drill

import (
	"fmt"
	"strings"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/system"
)

// File is a file of drills.
type File struct {
	Name string // such as "standard.yaml"
	Text string
}

// Begin writes first drills for a system: files that can be run as they are, with comments that say what to change. The first
// is the standard one, which the others and the standard set take their load and promises from.
func Begin(sys *system.System) []File {
	w := inject.WorldOfFile(sys)
	files := []File{{StandardName + ".yaml", standardText(sys)}}
	if text := dieText(w); text != "" {
		files = append(files, File{"instances-die.yaml", text})
	}
	return append(files, File{"random.yaml", randomText})
}

func standardText(sys *system.System) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# What users of %s do, and what they are promised. The other drills here and the standard set ("holdfast drill list") take
# their load, their promises and their invariants from this file.
drill: standard
about: Users do what they do, and nothing is broken.
for: 20s

load:
  rate: 50                # calls a second, at random moments; or steps: [{for: 10s, rate: 50}, {for: 5s, from: 50, to: 200}]
`, sys.Name)
	edges := 0
	for _, svc := range sys.Services {
		if svc.HTTP == "" {
			continue
		}
		if edges++; edges == 1 {
			fmt.Fprintf(&b, "  edge: %s\n  vars: {user: \"u-{{int 1 500}}\"}   # drawn for each call; {{.user}} in it\n  calls:\n", svc.Name)
			b.WriteString("    home: {weight: 9, get: /}   # if its good answer is empty: expect: [200]\n")
			b.WriteString("    # What changes something, with a key so that it can be sent again, and what is a good answer:\n")
			b.WriteString("    # order: {weight: 1, post: /orders, key: \"{{uuid}}\", body: {user: \"{{.user}}\", item: mug}, expect: [201], refused: [409], keep: {order: id}}\n")
			continue
		}
		fmt.Fprintf(&b, "    %s: {weight: 1, get: /, edge: %s}\n", svc.Name, svc.Name)
	}
	if edges == 0 {
		name := sys.Services[0].Name
		fmt.Fprintf(&b, `  vars: {user: "u-{{int 1 500}}"}   # drawn for each call; {{.user}} in it
  # No service of the system has http:, so it is called over gRPC, by reflection: SERVICE/package.Type/Method, and the
  # request as JSON. Without a method of yours this one, which every Holdfast service answers:
  calls:
    health: {weight: 1, grpc: %s/grpc.health.v1.Health/Check, body: {}}
    # get: {weight: 9, grpc: %s/example.v1.Things/Get, body: {id: "{{.user}}"}, expect: [OK, NOT_FOUND]}
`, name, name)
	}
	b.WriteString(`
expect:
  success: 99.99%         # of the calls that were not refused
  # p99: 500ms            # from when the call was due
  # mask: 1s              # after a fault begins or ends, no call fails any more
  # recover: 5s           # and p99 is back
  # amplification: 1.2    # attempts a call

# What has to hold whatever is broken. A command, run beside the system file, says yes (exit code 0), no (1) or unknown (2):
# invariants:
#   - {acknowledged: order, at: {get: "/orders/{{.order}}"}}                                   # what was acknowledged is there
#   - {once: order, list: {get: "/orders?user={{.user}}", keep: {count: "orders.#"}}}           # and it happened once
#   - {command: go run ./audit}
`)
	return b.String()
}

// dieText is a drill with the faults that are asked for most, "" for a system that has nobody to stand in for anybody.
func dieText(w inject.World) string {
	var several, replicated []string
	for _, svc := range w.Services {
		if svc.Name == control.ControlService || len(svc.Instances) < 2 {
			continue
		}
		several = append(several, svc.Name)
		if len(svc.Instances) >= 3 {
			replicated = append(replicated, svc.Name)
		}
	}
	if len(several) == 0 {
		return ""
	}
	at := 5
	var b strings.Builder
	b.WriteString(`# One instance of each service dies, hangs, and loses its network. Load and promises are those of standard.yaml.
drill: instances-die
about: One instance of each service dies, hangs, and is cut off.

# A target is an instance (SERVICE-1), one of a service that is drawn from the seed (SERVICE), all of it (SERVICE/all), a
# minority, a majority, or the rest of it (SERVICE/minority, ...); control/all is registry and broker.
# More: slow-cpu, restart, scale, latency, bandwidth, reset, errors, disk, memory, registry, broker, command, http.
faults:
`)
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, "  - {at: %ds, "+format+"}\n", append([]any{at}, args...)...)
	}
	for _, name := range several {
		line("kill: %s", name)
		at += 5
	}
	for _, name := range several {
		line("freeze: %s, for: 4s", name)
		at += 8
	}
	for _, name := range several {
		line("partition: {from: %s, way: both}, for: 4s", name)
		at += 8
	}
	for _, name := range replicated {
		line("partition: {between: [[%s/minority], [%s/rest]]}, for: 5s", name, name)
		at += 9
	}
	return b.String()
}

const randomText = `# Faults that are drawn from the seed: at any time at most a minority of each service is hit, of one that has two instances one.
#
#   holdfast drill --random --for 10m             this one, for so long
#   holdfast drill --random --for 10m --seed 7    the same again
drill: random
about: Whatever comes.
for: 1m

random:
  every: 3s               # on average
  # kinds: [kill, freeze, slow-cpu, restart, partition, latency, reset, errors, disk]
  # spare: [SERVICE, SERVICE-1]
`
