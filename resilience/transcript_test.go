package resilience

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/balance"
)

var update = flag.Bool("update", false, "rewrite testdata from what the code does")

// TestTranscripts runs the scripts of testdata and compares every decision with the one written there. A line of a
// script is a command; the indented lines under it are what came of it; # starts a comment. The random number of every
// wait is one half, the clock moves by what "end" and "idle" say and by the waits decided.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s is not what the code does; -update rewrites it. The code does:\n%s", file, got)
			}
		})
	}
}

// stage is the state of a script.
type stage struct {
	now     time.Time
	policy  Policy
	budget  *Budget
	latency *Latency
	call    Call
	guard   *Guard
	plan    Plan // of the attempt that is under way and not a hedge, if there is one
	hedge   Plan
	begun   time.Time
	open    []Call
}

func play(t *testing.T, script string) string {
	s := &stage{now: epoch, latency: new(Latency)}
	s.budget, s.guard = NewBudget(s.policy.Budget), NewGuard(s.policy)
	var out strings.Builder
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "  ") {
			continue // earlier output
		}
		out.WriteString(line)
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		for _, said := range s.do(t, words[0], words[1:]) {
			out.WriteString("  " + said + "\n")
		}
	}
	return out.String()
}

func (s *stage) do(t *testing.T, cmd string, args []string) []string {
	arg := func(name string) (string, bool) {
		for _, a := range args {
			if k, v, _ := strings.Cut(a, "="); k == name {
				return v, true
			}
		}
		return "", false
	}
	duration := func(name string) time.Duration {
		v, ok := arg(name)
		if !ok || v == "never" {
			return 0
		}
		d, err := time.ParseDuration(v)
		if err != nil {
			t.Fatalf("%s %v: %v", cmd, args, err)
		}
		return d
	}
	number := func(name string) float64 {
		v, ok := arg(name)
		if !ok {
			return 0
		}
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			t.Fatalf("%s %v: %v", cmd, args, err)
		}
		return f
	}
	switch cmd {
	case "policy": // policy timeout= attempt-timeout= attempts= burst= floor= hedges= hedge-after= in-flight= rate= breaker
		s.policy = Policy{
			Timeout: duration("timeout"), AttemptTimeout: duration("attempt-timeout"), MaxAttempts: int(number("attempts")),
			Budget:      BudgetPolicy{Burst: number("burst"), Floor: number("floor")},
			Hedge:       HedgePolicy{Share: number("hedges"), Delay: duration("hedge-after")},
			MaxInFlight: int(number("in-flight")), Rate: number("rate"),
		}
		if _, ok := arg("breaker"); ok {
			s.policy.Breaker = &BreakerPolicy{}
		}
		if err := s.policy.Validate(); err != nil {
			t.Fatal(err)
		}
		s.budget, s.guard = NewBudget(s.policy.Budget), NewGuard(s.policy)
	case "latency": // latency n= d=
		for range int(number("n")) {
			s.latency.Observe(s.now, duration("d"), balance.Latency)
		}
		s.now = s.now.Add(fresh)
		sum := s.latency.Summary(s.now)
		return []string{fmt.Sprintf("%d samples, median %v, 99.9%% %v", sum.Samples, sum.Median, sum.P999)}
	case "open": // leave the call open
		s.open = append(s.open, s.call)
	case "close": // end the call that was left open last
		last := len(s.open) - 1
		s.open[last].End(s.now)
		s.open = s.open[:last]
	case "alone":
		s.call.Alone()
	case "idle": // idle for=
		s.now = s.now.Add(duration("for"))
	case "budget":
		return []string{fmt.Sprintf("%.1f tokens", s.budget.Tokens(s.now))}
	case "calls": // calls n= as= : earlier ones, as far as budget and guard know them
		name, _ := arg("as")
		for range int(number("n")) {
			s.budget.Call(s.now)
			ps, _ := s.guard.allow(s.now, Critical, 0)
			s.guard.done(s.now, Critical, ps, outcome(t, name).Verdict())
		}
	case "call": // call [safe] [left=] [criticality=]
		deadline := s.now.Add(s.policy.timeout())
		if left := duration("left"); left > 0 {
			deadline = s.now.Add(left)
		}
		_, safe := arg("safe")
		name, _ := arg("criticality")
		level, _ := ParseCriticality(name)
		s.call = Begin(Spec{
			Policy: &s.policy, Budget: s.budget, Guard: s.guard, Latency: s.latency, Deadline: deadline, Safe: safe, Criticality: level,
		})
		s.begun = s.now
		return s.attempt()
	case "hedge": // the time of the hedge has come
		s.now = s.plan.Hedge
		plan, ok := s.call.Hedge(s.now, 1<<63)
		if !ok {
			return []string{"no hedge"}
		}
		s.hedge = plan
		return []string{s.show("hedge", plan)}
	case "end": // end [hedge] after= as= pushback= [lost]; lost: the other one is cancelled then
		s.now = s.now.Add(duration("after"))
		name, _ := arg("as")
		plan, other := s.plan, s.hedge
		if _, ok := arg("hedge"); ok {
			plan, other = other, plan
		}
		pushback := duration("pushback")
		if v, _ := arg("pushback"); v == "never" {
			pushback = Never
		}
		d := s.call.Done(s.now, plan, outcome(t, name), pushback, 1<<63)
		if d.Pending {
			return []string{"pending"}
		}
		if _, ok := arg("lost"); ok {
			s.call.Lost(s.now, other)
		}
		if !d.Retry {
			s.call.End(s.now)
			return []string{"stop: " + d.Stop.String()}
		}
		said := "retry"
		if d.Wait > 0 {
			said = fmt.Sprintf("retry in %v", d.Wait)
		}
		s.now = s.now.Add(d.Wait)
		return append([]string{said}, s.attempt()...)
	case "timeout": // the attempt's or the call's deadline passes
		s.now = s.plan.Deadline
		name := "deadline-exceeded"
		if s.plan.Bounded {
			name = "attempt-timeout"
		}
		return s.do(t, "end", []string{"as=" + name})
	default:
		t.Fatalf("unknown command %q", cmd)
	}
	return nil
}

func (s *stage) attempt() []string {
	plan, stop := s.call.Next(s.now, 1<<63)
	if stop != StopDone {
		s.call.End(s.now)
		return []string{"no attempt: " + stop.String()}
	}
	s.plan = plan
	return []string{s.show("attempt", plan)}
}

func (s *stage) show(what string, plan Plan) string {
	kind := "all that is left"
	if plan.Bounded {
		kind = "then another"
	}
	if !plan.Hedge.IsZero() {
		kind += fmt.Sprintf(", hedged at %v", plan.Hedge.Sub(s.begun))
	}
	return fmt.Sprintf("%s %d at %v until %v (%s)", what, plan.Number+1, s.now.Sub(s.begun), plan.Deadline.Sub(s.begun), kind)
}

func outcome(t *testing.T, name string) Outcome {
	for o := range outcomes {
		if strings.ReplaceAll(o.String(), " ", "-") == name {
			return o
		}
	}
	t.Fatalf("no outcome %q", name)
	return 0
}

// epoch is when the tests begin.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
