package embed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/internal/ports"
	"github.com/holdfast-go/holdfast/internal/stopwatch"
	"github.com/holdfast-go/holdfast/platform/embed"
)

// TestMain looks for goroutines that are left. etcd's connections between members end by themselves, a second or more
// after the members.
//
// With childDir set it is a process that runs the member in that directory.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		e := embed.NewEtcd(embed.EtcdConfig{
			Name: "one", DataDir: dir, ClientAddr: os.Getenv("EMBED_TEST_CLIENT"), PeerAddr: os.Getenv("EMBED_TEST_PEER"),
		})
		fmt.Println(e.Run(context.Background()))
		os.Exit(0)
	}
	code := m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var left error
	for code == 0 {
		// lumberjack, which etcd's configuration imports, starts its goroutine once and for all.
		left = goleak.Find(goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
		if left == nil || ctx.Err() != nil {
			break
		}
	}
	if left != nil {
		fmt.Fprintln(os.Stderr, left)
		code = 1
	}
	os.Exit(code)
}

const childDir = "EMBED_TEST_DIR"

// soon is the deadline of whatever a test waits for; it is only reached when the test fails.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addresses are free ones, which no other test takes while nobody listens.
func addresses(t testing.TB, n int) []string {
	t.Helper()
	r, err := ports.Reserve(n)
	check(t, err)
	t.Cleanup(r.Release)
	var addrs []string
	for i := range n {
		addrs = append(addrs, r.Addr(i))
	}
	return addrs
}

// single is a configuration of a cluster of one, fast enough for tests.
func single(t *testing.T, dir string) embed.EtcdConfig {
	addrs := addresses(t, 2)
	return embed.EtcdConfig{
		Name: "one", DataDir: dir, ClientAddr: addrs[0], PeerAddr: addrs[1],
		Heartbeat: 20 * time.Millisecond, Election: 200 * time.Millisecond,
	}
}

// member is a running member.
type member struct {
	cfg    embed.EtcdConfig
	cancel context.CancelFunc
	ended  chan error
	ready  <-chan struct{}
}

func run(t testing.TB, cfg embed.EtcdConfig) *member {
	t.Helper()
	e := embed.NewEtcd(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{cfg: cfg, cancel: cancel, ended: make(chan error, 1), ready: e.Ready()}
	go func() { m.ended <- e.Run(ctx) }()
	t.Cleanup(func() { m.stop(t) })
	return m
}

// waitReady returns when the members are ready.
func waitReady(t testing.TB, members ...*member) {
	t.Helper()
	ctx := soon(t)
	for _, m := range members {
		select {
		case <-m.ready:
		case err := <-m.ended:
			m.ended <- err
			t.Fatalf("%s ended: %v", m.cfg.Name, err)
		case <-ctx.Done():
			t.Fatalf("%s is not ready", m.cfg.Name)
		}
	}
}

// stop stops a member, once.
func (m *member) stop(t testing.TB) {
	t.Helper()
	m.cancel()
	if err, ok := <-m.ended; ok {
		close(m.ended)
		if err != nil {
			t.Errorf("%s: %v", m.cfg.Name, err)
		}
	}
}

func client(t testing.TB, members ...*member) *clientv3.Client {
	t.Helper()
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.cfg.ClientAddr)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	check(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func put(t testing.TB, c *clientv3.Client, key, value string) {
	t.Helper()
	ctx := soon(t)
	for {
		// A write that fails may have been done, which is all right for a key that is set to the same value again.
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		_, err := c.Put(attempt, key, value)
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("put:", err)
		}
	}
}

func get(t testing.TB, c *clientv3.Client, key string) string {
	t.Helper()
	resp, err := c.Get(soon(t), key)
	check(t, err)
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

func TestSingleMemberKeepsItsData(t *testing.T) {
	cfg := single(t, t.TempDir())
	m := run(t, cfg)
	waitReady(t, m)
	put(t, client(t, m), "k", "v")
	m.stop(t)
	again := run(t, cfg)
	waitReady(t, again)
	if got := get(t, client(t, again), "k"); got != "v" {
		t.Errorf("got %q", got)
	}
}

// cluster runs three members.
func cluster(t testing.TB) []*member {
	t.Helper()
	dir := t.TempDir()
	addrs := addresses(t, 6)
	peers := make(map[string]string)
	for i := range 3 {
		peers[fmt.Sprintf("m%d", i)] = addrs[i]
	}
	var members []*member
	for i := range 3 {
		name := fmt.Sprintf("m%d", i)
		members = append(members, run(t, embed.EtcdConfig{
			Name: name, DataDir: filepath.Join(dir, name), ClientAddr: addrs[3+i], PeerAddr: peers[name], Cluster: peers,
			Heartbeat: 50 * time.Millisecond, Election: 500 * time.Millisecond,
		}))
	}
	waitReady(t, members...)
	return members
}

// leader is the index of the member that leads.
func leader(t testing.TB, c *clientv3.Client, members []*member) int {
	t.Helper()
	for ctx := soon(t); ctx.Err() == nil; { // there may be an election under way
		for i, m := range members {
			resp, err := c.Status(ctx, m.cfg.ClientAddr)
			check(t, err)
			if resp.Leader == resp.Header.MemberId {
				return i
			}
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatal("no leader")
	return 0
}

// A member that stops hands its leadership over, ends the watches of its clients so that they go on elsewhere without a
// gap, and comes back with what was written in between.
func TestMemberLeavesAndRejoins(t *testing.T) {
	t.Parallel()
	members := cluster(t)
	all := client(t, members...)
	put(t, all, "k", "before")
	first := leader(t, all, members)
	others := []*member{members[(first+1)%3], members[(first+2)%3]}

	watch := all.Watch(soon(t), "k", clientv3.WithRev(1))
	took := stopwatch.Start(t)
	members[first].stop(t)
	if took := took(); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
	put(t, client(t, others...), "k", "without")
	var seen []string
	for len(seen) < 2 {
		resp, ok := <-watch
		if !ok || resp.Err() != nil {
			t.Fatalf("the watch ended: %v", resp.Err())
		}
		for _, ev := range resp.Events {
			if v := string(ev.Kv.Value); len(seen) == 0 || seen[len(seen)-1] != v {
				seen = append(seen, v)
			}
		}
	}
	if got := strings.Join(seen, " "); got != "before without" {
		t.Errorf("saw %q", got)
	}
	back := run(t, members[first].cfg)
	waitReady(t, back)
	if got := get(t, client(t, back), "k"); got != "without" {
		t.Errorf("got %q", got)
	}
}

// When all members stop at once, none waits for another to take over.
func TestClusterStopsAtOnce(t *testing.T) {
	t.Parallel()
	members := cluster(t)
	c := client(t, members...)
	_ = c.Watch(soon(t), "k") // a stream that a graceful stop would wait for
	put(t, c, "k", "v")
	took := stopwatch.Start(t)
	var stopped sync.WaitGroup
	for _, m := range members {
		stopped.Go(func() { m.stop(t) })
	}
	stopped.Wait()
	if took := took(); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

// A client whose stream is ended is told something that makes etcd's clients go on elsewhere.
func TestStreamsEndUnavailable(t *testing.T) {
	m := run(t, single(t, t.TempDir()))
	waitReady(t, m)
	c := client(t, m)
	lease, err := c.Grant(soon(t), 60)
	check(t, err)
	stream, err := c.KeepAlive(soon(t), lease.ID)
	check(t, err)
	<-stream
	took := stopwatch.Start(t)
	m.stop(t)
	if took := took(); took > 4*time.Second {
		t.Errorf("stopping took %s", took)
	}
	_, err = c.Grant(soonest(t), 60)
	if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func soonest(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// runError returns the error of a member that cannot run.
func runError(t *testing.T, cfg embed.EtcdConfig) string {
	t.Helper()
	err := embed.NewEtcd(cfg).Run(soon(t))
	if err == nil {
		t.Fatal("it ran")
	}
	return err.Error()
}

func contains(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("no %q in %q", w, got)
		}
	}
}

func TestTakenPort(t *testing.T) {
	for _, which := range []string{"client", "peer"} {
		cfg := single(t, t.TempDir())
		addr := cfg.ClientAddr
		if which == "peer" {
			addr = cfg.PeerAddr
		}
		l, err := net.Listen("tcp", addr)
		check(t, err)
		contains(t, runError(t, cfg), "etcd one: "+which+" address "+addr+" is taken by another process")
		l.Close()
		// Nothing is left of the attempt.
		m := run(t, cfg)
		waitReady(t, m)
		m.stop(t)
	}
}

func TestMistakesAreReportedAtOnce(t *testing.T) {
	got := runError(t, embed.EtcdConfig{
		Name: "a,b", ClientAddr: "10.0.0.1:1", PeerAddr: "127.0.0.1:0", Cluster: map[string]string{"x": "host:1"},
		Election: time.Millisecond, QuotaBytes: -1,
	})
	contains(t, got, `name "a,b"`, "no data directory", `not its peer address`, "10.0.0.1:1 is not loopback",
		`peer address of x "host:1" is not IP:port`, "between 5 heartbeats", "negative")
}

func TestForeignDirectory(t *testing.T) {
	cfg := single(t, t.TempDir())
	m := run(t, cfg)
	waitReady(t, m)
	contains(t, inUse(t, cfg), "is in use by another process")
	m.stop(t)

	other := cfg
	other.Name = "two"
	contains(t, runError(t, other), `belongs to member "one"`)
	other = cfg
	other.PeerAddr = addresses(t, 1)[0]
	contains(t, runError(t, other), "belongs to another cluster")

	mark := filepath.Join(cfg.DataDir, "holdfast.json")
	good, err := os.ReadFile(mark)
	check(t, err)
	check(t, os.WriteFile(mark, []byte("{"), 0o600))
	contains(t, runError(t, cfg), "is corrupt: holdfast.json")
	check(t, os.Remove(mark))
	contains(t, runError(t, cfg), "holds an etcd member of somebody else's")
	check(t, os.WriteFile(mark, good, 0o600))
	check(t, os.RemoveAll(filepath.Join(cfg.DataDir, "member")))
	contains(t, runError(t, cfg), "has lost its data")
}

// inUse runs a second member on the same directory, at other client ports.
func inUse(t *testing.T, cfg embed.EtcdConfig) string {
	t.Helper()
	cfg.ClientAddr = addresses(t, 1)[0]
	return runError(t, cfg)
}

// Corrupt files are an error that names the directory, and not the end of the process. This is in a process of its own,
// because etcd leaves its other files open when it panics.
func TestCorruptDirectory(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"member/snap/db", "member/wal/*.wal"} {
		cfg := single(t, t.TempDir())
		m := run(t, cfg)
		waitReady(t, m)
		put(t, client(t, m), "k", "v")
		m.stop(t)
		files, err := filepath.Glob(filepath.Join(cfg.DataDir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			overwrite(t, file)
		}
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+cfg.DataDir,
			"EMBED_TEST_CLIENT="+cfg.ClientAddr, "EMBED_TEST_PEER="+cfg.PeerAddr)
		out, err := child.Output()
		check(t, err)
		contains(t, string(out), "etcd one: data directory "+cfg.DataDir)
	}
}

// A process may be killed when it has made the database's file and not written to it: what is in the log is begun again.
func TestEmptyDatabase(t *testing.T) {
	t.Parallel()
	cfg := single(t, t.TempDir())
	for _, want := range []string{"", "v"} {
		m := run(t, cfg)
		waitReady(t, m)
		c := client(t, m)
		got, err := c.Get(t.Context(), "k")
		check(t, err)
		if len(got.Kvs) == 0 != (want == "") || want != "" && string(got.Kvs[0].Value) != want {
			t.Errorf("%v, want %q", got.Kvs, want)
		}
		put(t, c, "k", "v")
		check(t, c.Close())
		m.stop(t)
		check(t, os.Truncate(filepath.Join(cfg.DataDir, "member", "snap", "db"), 0))
	}
}

func overwrite(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, 64<<10), 0)
	check(t, err)
}

// The log is quiet when all is well, and the disk is not filled ahead of time.
func TestQuietAndSmall(t *testing.T) {
	var log syncBuffer
	cfg := single(t, t.TempDir())
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	m := run(t, cfg)
	waitReady(t, m)
	put(t, client(t, m), "k", "v")
	var size int64
	check(t, filepath.WalkDir(filepath.Join(cfg.DataDir, "member", "wal"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a temporary file that was renamed meanwhile
		}
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	}))
	m.stop(t)
	for line := range strings.Lines(log.String()) {
		of := func(said string) bool { return strings.Contains(line, said) }
		if !slices.ContainsFunc([]string{"slow fdatasync", "took too long", "cannot campaign"}, of) { // it is a disk or processor with much to do
			t.Errorf("it said:\n%s", line)
		}
	}
	if size > 32<<20 {
		t.Errorf("%d MiB of log on disk", size>>20)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
