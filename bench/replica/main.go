// Command replica measures replicated state against an etcd and against a bare call, in one run: three members of each
// engine, each a process on loopback with its data on a real disk, fsync on, values of 128 bytes over 10,000 keys, clients
// that do one operation after the other.
//
//	go run ./bench/replica                      # throughput: the tables; ends with 1 if a promise is not kept
//	go run ./bench/replica -failover            # kill -9 of the leader under 64 writers, 20 times; planned hand-overs
//	go run ./bench/replica -memory              # 1,000,000 writes: memory and disk of each member
//	go run ./bench/replica -restart             # all members killed with 350,000 commands in the log
//	go run ./bench/replica -snapshot            # 1 GB of state streamed to a new member while others write
//	go run ./bench/replica -short               # a few seconds, nothing is judged
//
// "holdfast" is a store of replica/kv behind an rpc.Server with all its defaults, called by plain grpc-go: what a
// user's service would be. "etcd" is the embedded server with its defaults behind its own client. "bare" is a map behind
// grpc-go: the ceiling, what one hop costs. Rounds of the engines alternate; figures are medians over the rounds, ratios
// medians of the ratios of neighbouring rounds. CPU time is that of all members, and of this process, for each operation. A
// call that an instance was too busy to begin with is made again, after as long as it asked for; "shed" counts them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"
)

type settings struct {
	clients  []int
	engines  []string
	modes    []mode
	rounds   int
	round    time.Duration
	short    bool
	dir      string
	profile  string
	failover bool
	memory   bool
	restart  bool
	snapshot bool
	election time.Duration
	times    int
	timeline bool
}

func main() {
	child()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, errBroken):
		os.Exit(1)
	case !errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(os.Stderr, "replica:", err)
	}
	os.Exit(2)
}

func parse(args []string) (settings, error) {
	var s settings
	var clients, engines, what string
	flags := flag.NewFlagSet("replica", flag.ContinueOnError)
	flags.StringVar(&clients, "c", "1,64,256", "clients at a time, separated by commas")
	flags.StringVar(&engines, "engines", "etcd,holdfast,bare", "what is measured, separated by commas")
	flags.StringVar(&what, "modes", "", "only the modes whose names contain one of these, separated by commas")
	flags.IntVar(&s.rounds, "rounds", 5, "rounds of each")
	flags.DurationVar(&s.round, "round", 2*time.Second, "length of a round")
	flags.BoolVar(&s.short, "short", false, "only show that it works: short, nothing is judged")
	flags.StringVar(&s.dir, "dir", "", "where the members' data goes; a temporary directory that is removed if empty")
	flags.StringVar(&s.profile, "profile", "", "a directory for CPU profiles of all processes")
	flags.BoolVar(&s.failover, "failover", false, "kill the leader under writers, and hand leadership over")
	flags.BoolVar(&s.memory, "memory", false, "memory and disk after many writes")
	flags.BoolVar(&s.restart, "restart", false, "the time to replay a log")
	flags.BoolVar(&s.snapshot, "snapshot", false, "a large snapshot to a new member, under writes")
	flags.DurationVar(&s.election, "election", 250*time.Millisecond, "of -failover and -restart: the election timeout")
	flags.IntVar(&s.times, "times", 20, "of -failover: how many leaders are killed")
	flags.BoolVar(&s.timeline, "timeline", false, "say more about what happens")
	if err := flags.Parse(args); err != nil {
		return s, err //nolint:wrapcheck // flag has written it
	}
	if s.short {
		s.rounds, s.round, s.times = min(s.rounds, 1), min(s.round, 200*time.Millisecond), min(s.times, 1)
	}
	for _, word := range strings.Split(clients, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 || n > 10_000 {
			return s, fmt.Errorf("-c %s: %q is not within 1 to 10000", clients, word)
		}
		s.clients = append(s.clients, n)
	}
	for _, word := range strings.Split(engines, ",") {
		if !slices.Contains([]string{etcd, holdfast, bare}, word) {
			return s, fmt.Errorf("-engines %s: there is no %q", engines, word)
		}
		s.engines = append(s.engines, word)
	}
	for _, m := range modes {
		if slices.ContainsFunc(strings.Split(what, ","), func(w string) bool { return strings.Contains(m.name, w) }) {
			s.modes = append(s.modes, m)
		}
	}
	if len(s.modes) == 0 || s.rounds < 1 || s.round <= 0 || s.times < 1 || s.election < 50*time.Millisecond {
		return s, errors.New("-modes names none, or -rounds, -round, -times or -election is too small")
	}
	return s, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "holdfast-replica-"); err != nil {
			return fmt.Errorf("data: %w", err)
		}
		defer os.RemoveAll(s.dir) //nolint:errcheck // in the temporary directory
	}
	fmt.Fprintf(out, "%d members of each on loopback, fsync on, values of %d bytes over %d keys, %s %s/%s, %d processors\n\n",
		members, valueBytes, keyCount, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	switch {
	case s.failover:
		return failover(ctx, s, out)
	case s.memory:
		return memory(ctx, s, out)
	case s.restart:
		return restart(ctx, s, out)
	case s.snapshot:
		return bigSnapshot(ctx, s, out)
	}
	return throughput(ctx, s, out)
}

func throughput(ctx context.Context, s settings, out io.Writer) error {
	var clusters []*cluster
	defer func() {
		for _, c := range clusters {
			c.close()
		}
	}()
	for _, engine := range s.engines {
		c, err := startCluster(ctx, engine, s.dir, func(spec *Spec) { spec.Profile = s.profile })
		if err != nil {
			return err
		}
		clusters = append(clusters, c)
		if err := fill(ctx, c); err != nil {
			return err
		}
	}
	if s.profile != "" {
		f, err := os.Create(filepath.Join(s.profile, "client.cpu"))
		if err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Fprintf(out, "medians of %d interleaved rounds of %v\n\n", s.rounds, s.round)
	kept := true
	for _, m := range s.modes {
		able := slices.DeleteFunc(slices.Clone(clusters), func(c *cluster) bool { return c.engine == m.not })
		for _, n := range s.clients {
			results, err := interleave(ctx, able, m, n, s)
			if err != nil {
				return err
			}
			if err := table(out, m, n, able, results); err != nil {
				return err
			}
			if !s.short {
				kept = judge(out, m, n, able, results) && kept
			}
		}
	}
	if s.profile != "" {
		for _, c := range clusters {
			c.terminate()
		}
	}
	if !kept {
		return errBroken
	}
	return nil
}
