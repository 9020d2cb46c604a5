// Command chaos shows that replicated state stays linearizable while its members, real processes, are killed, frozen,
// partitioned, and lose their disks at random: clients record all they do and see, and porcupine judges it.
//
//	go run ./bench/chaos -for 10m                     # three members, all faults; the seed is printed
//	go run ./bench/chaos -for 1m -members 5 -faults kill,isolate -seed 7
//	go run ./bench/chaos -for 10m -netns              # real packets are lost, between network namespaces; as root
//
// The seed decides what is done and when, not how the machine takes it: a run cannot be repeated to the letter, and
// what it found is kept with -keep. The exit code is 1 if the history is not linearizable, a write was lost or done
// twice, or a member did not come back.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/linear"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if arg, ok := os.LookupEnv(childEnv); ok {
		var s spec
		err := json.Unmarshal([]byte(arg), &s)
		if err == nil {
			err = serve(ctx, s)
		}
		exit(err)
	}
	var c config
	faults := flag.String("faults", "", "what happens: some of "+strings.Join(allFaults, ",")+", or with -netns "+faultLossy+"; empty: all")
	flag.BoolVar(&c.netns, "netns", false, "each member in a network namespace of its own, where packets are lost; Linux, as root")
	flag.DurationVar(&c.length, "for", time.Minute, "how long")
	flag.IntVar(&c.members, "members", 3, "how many members")
	flag.IntVar(&c.clients, "clients", 10, "how many clients")
	flag.DurationVar(&c.think, "think", 10*time.Millisecond, "average pause of a client between two operations")
	flag.DurationVar(&c.every, "every", 2*time.Second, "average time between two faults")
	flag.DurationVar(&c.election, "election", time.Second, "election timeout of the members")
	flag.Uint64Var(&c.seed, "seed", 0, "0: by the clock")
	flag.StringVar(&c.keep, "keep", "", "a directory for the members' data, logs and the history; empty: a temporary one")
	flag.Parse()
	var err error
	if c.faults, err = parseFaults(*faults, c.netns); err == nil {
		if c.seed == 0 {
			c.seed = uint64(time.Now().UnixNano()) % 1_000_000
		}
		err = run(ctx, c)
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

type config struct {
	length, think, every, election time.Duration
	members, clients               int
	seed                           uint64
	faults                         []string
	keep                           string
	netns                          bool
}

// errFound says that the members have a bug.
var errFound = errors.New("this must not be")

func run(ctx context.Context, c config) error {
	dir := c.keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "holdfast-chaos-"); err != nil {
			return fmt.Errorf("data: %w", err)
		}
		defer os.RemoveAll(dir) //nolint:errcheck // in the temporary directory
	}
	fmt.Printf("seed %d: %d members, %d clients, %v of %s, election %v\n", c.seed, c.members, c.clients, c.length, strings.Join(c.faults, ","), c.election)
	f, err := startFleet(dir, c)
	if err != nil {
		return err
	}
	defer f.Close()
	members := make([]string, 0, c.members)
	for _, p := range f.processes {
		members = append(members, p.spec.Clients)
	}
	if !poll(ctx, time.Minute, func() bool { return f.leader(ctx) >= 0 }) {
		return fmt.Errorf("the group was not founded within a minute:\n%s", f.said())
	}
	u := newUsers(members, c.think)
	stop, patience := make(chan struct{}), context.WithoutCancel(ctx)
	patience, giveUp := context.WithCancel(patience)
	defer giveUp()
	var wg sync.WaitGroup
	for i := range c.clients {
		wg.Go(func() { u.run(patience, stop, i, c.seed) })
	}
	m := &monkey{
		f: f, r: rand.New(rand.NewPCG(c.seed, 1)), faults: c.faults, every: c.every, caused: map[string]int{},
		say: func(format string, args ...any) {
			fmt.Printf("%8.3f  %s\n", u.now().Seconds(), fmt.Sprintf(format, args...))
		},
	}
	err = m.run(ctx, c.length)
	close(stop)
	done := make(chan struct{})
	go func() { defer close(done); wg.Wait() }()
	if !poll(ctx, time.Minute, func() bool { return isClosed(done) }) {
		err = errors.Join(err, errors.New("there are operations without an answer a minute after the last fault"))
		giveUp()
		<-done
	}
	if err == nil {
		err = judge(ctx, u, m)
	}
	if err != nil {
		err = errors.Join(err, f.write(dir, u))
		if c.keep == "" {
			err = errors.Join(err, fmt.Errorf("the members said:\n%s", f.said()))
		}
		return fmt.Errorf("seed %d: %w", c.seed, err)
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// judge reads everything at the end and looks at what all clients have seen.
func judge(ctx context.Context, u *users, m *monkey) error {
	final, err := u.final(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	ops := u.history.Ops()
	v := linear.Check(ops, final, time.Minute)
	kinds := map[linear.Kind]int{}
	for _, op := range ops {
		if op.Outcome == linear.Done {
			kinds[op.Kind]++
		}
	}
	fmt.Printf("faults: %v\n", m.caused)
	fmt.Printf("answered: %d gets, %d puts, %d appends, %d swaps; of unknown outcome: %d; attempts: %d; keys: %d\n",
		kinds[linear.Get], kinds[linear.Put], kinds[linear.Append], kinds[linear.CAS], u.unknown, u.attempts, len(final))
	fmt.Printf("p50 %v, p99 %v, slowest %v; longest time without an answered write %v\n", u.quantile(0.5).Round(time.Microsecond), u.quantile(0.99).Round(time.Millisecond), u.quantile(1).Round(time.Millisecond), u.gap.Round(time.Millisecond))
	fmt.Printf("%v (judged in %v)\n", v, time.Since(begin).Round(time.Millisecond))
	if !v.OK() {
		return errFound
	}
	return nil
}

// said is the end of what the members have said.
func (f *fleet) said() string {
	var b strings.Builder
	for _, p := range f.processes {
		lines := strings.Split(strings.TrimSpace(p.said.String()), "\n")
		fmt.Fprintf(&b, "--- %s\n%s\n", p.spec.Name, strings.Join(lines[max(len(lines)-15, 0):], "\n"))
	}
	return b.String()
}

// write keeps what is needed to look into a run.
func (f *fleet) write(dir string, u *users) error {
	ops := u.history.Ops()
	slices.SortStableFunc(ops, func(a, b linear.Op) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintln(&b, op)
	}
	err := os.WriteFile(filepath.Join(dir, "history.txt"), []byte(b.String()), 0o600)
	for _, p := range f.processes {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, p.spec.Name+".log"), []byte(p.said.String()), 0o600))
	}
	return err
}
