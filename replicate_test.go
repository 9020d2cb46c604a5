package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
)

// replicated is an instance with a store, whose data is below dir.
func replicated(t *testing.T, engine driver.Registry, id, dir string) (*instance, *kv.Store) {
	t.Helper()
	i := newInstance(t, engine, "stock", id, func(c *holdfast.Config) {
		c.Settings.DataDir, c.Settings.ReplicaAddr = dir, "127.0.0.1:0"
		c.Replica.Election = 250 * time.Millisecond
	})
	host, err := i.Replicate()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := i.Replicate(); again != host || err != nil {
		t.Errorf("again: %v, %v", again, err)
	}
	store, err := kv.New(host, "stock", kv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return i, store
}

// Three instances find each other in the registry, and what they know survives all of them.
func TestReplicate(t *testing.T) {
	t.Parallel()
	engine, dir := memregistry.New(), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	for round := range 2 {
		var all []*instance
		var stores []*kv.Store
		for n := range 3 {
			i, s := replicated(t, engine, fmt.Sprintf("stock-%d", n+1), dir)
			if n < 2 {
				i.both(nil)
			} // the third has no servers, and is found all the same
			all, stores = append(all, i.run(t)), append(stores, s)
		}
		for n, s := range stores {
			key := fmt.Sprintf("%d.%d", round, n)
			if _, err := s.Put(ctx, key, []byte("v")); err != nil {
				t.Fatalf("put %s: %v", key, err)
			}
		}
		for r := range round + 1 {
			for n, s := range stores {
				if _, ok, err := s.Get(ctx, replica.Linearizable, fmt.Sprintf("%d.%d", r, 2-n)); !ok || err != nil {
					t.Errorf("round %d, get %d.%d: %v, %v", round, r, 2-n, ok, err)
				}
			}
		}
		for _, i := range all {
			i.stop(t)
		}
	}
}

// An instance that nobody else finds is a group of its own.
func TestReplicateAlone(t *testing.T) {
	t.Parallel()
	i := holdfast.New("stock", func(c *holdfast.Config) {
		c.Settings.Instance, c.Settings.DataDir, c.Settings.DrainDelay = "stock-1", t.TempDir(), 0
	})
	host, err := i.Replicate()
	if err != nil {
		t.Fatal(err)
	}
	store, err := kv.New(host, "stock", kv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- i.Run(ctx) }()
	if _, err := store.Put(ctx, "x", []byte("1")); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestReplicateNeedsANameAndADirectory(t *testing.T) {
	t.Parallel()
	i := holdfast.New("stock")
	_, err := i.Replicate()
	for _, want := range []string{"HOLDFAST_INSTANCE", "HOLDFAST_DATA_DIR"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not among the problems: %v", want, err)
		}
	}
	if run := i.Run(t.Context()); run == nil || !strings.Contains(run.Error(), "HOLDFAST_DATA_DIR") {
		t.Errorf("Run: %v", run)
	}
}

// broken is a machine that cannot go on.
type broken struct{}

func (broken) Apply(replica.Entry) ([]byte, error) { panic("boom") }
func (broken) Snapshot() (replica.Snapshot, error) { return nil, errors.New("never") }
func (broken) Restore(io.Reader) error             { return errors.New("never") }

// A group that fails ends the Service, unless that is told what else to do.
func TestReplicateEndsWithAFailedGroup(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{false, true} {
		told := make(chan error, 1)
		i := holdfast.New("stock", func(c *holdfast.Config) {
			c.Settings.Instance, c.Settings.DataDir, c.Settings.DrainDelay = "stock-1", t.TempDir(), 0
			if own {
				c.Replica.Failed = func(_ *replica.Group, err error) { told <- err }
			}
		})
		host, err := i.Replicate()
		if err != nil {
			t.Fatal(err)
		}
		g, err := host.Group("stock", broken{}, replica.GroupConfig{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- i.Run(ctx) }()
		if _, err := g.Propose(ctx, []byte("x")); err == nil {
			t.Error("no error")
		}
		if own {
			if err := <-told; !errors.Is(err, replica.ErrFailed) {
				t.Errorf("told of %v", err)
			}
			cancel()
		}
		if err := <-done; own != (err == nil) || !own && !errors.Is(err, replica.ErrFailed) {
			t.Errorf("own %v: Run: %v", own, err)
		}
		cancel()
	}
}

// Who is meant to be reached by others does not found a group alone because nobody told it where they are.
func TestReplicateAloneIsForLoopback(t *testing.T) {
	t.Parallel()
	i := holdfast.New("stock", func(c *holdfast.Config) {
		c.Settings.Instance, c.Settings.DataDir, c.Settings.ReplicaAddr = "stock-1", t.TempDir(), "0.0.0.0:0"
		c.Replica.Insecure = true
	})
	if _, err := i.Replicate(); err == nil || !strings.Contains(err.Error(), "HOLDFAST_REGISTRY") || !strings.Contains(err.Error(), "HOLDFAST_MEMBERS=1") {
		t.Errorf("got %v", err)
	}
	_ = i.Close()
}

func TestReplicateWithFounders(t *testing.T) {
	t.Parallel()
	engine, dir := memregistry.New(), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	var all []*instance
	for _, id := range []string{"stock-0", "stock-1"} { // by its name, the first would found alone
		i := newInstance(t, engine, "stock", id, func(c *holdfast.Config) {
			c.Settings.DataDir, c.Settings.ReplicaAddr, c.Settings.Founders = dir, "127.0.0.1:0", []string{"stock-1"}
			c.Replica.Election = 250 * time.Millisecond
		})
		host, err := i.Replicate()
		if err != nil {
			t.Fatal(err)
		}
		store, err := kv.New(host, "stock", kv.Config{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, i.run(t))
		if id == "stock-0" {
			continue
		}
		if _, err := store.Put(ctx, "x", []byte("1")); err != nil {
			t.Error(err)
		}
		for _, m := range store.Group().Status().Members {
			if m.Name == "stock-0" && !m.Learner {
				t.Error("it founded, or votes")
			}
		}
	}
	for _, i := range all {
		i.stop(t)
	}
}

// A Service that is not run lets go of directory and port.
func TestReplicateAndClose(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 {
		i, _ := replicated(t, memregistry.New(), "stock-1", dir)
		host, err := i.Replicate()
		if err != nil {
			t.Fatal(err)
		}
		addr := host.Addr().String()
		if err := i.Close(); err != nil {
			t.Error(err)
		}
		if l, err := net.Listen("tcp", addr); err != nil {
			t.Error(err)
		} else {
			l.Close()
		}
	}
}

// What serves replicated state says that it does when it has it. Before that it is starting, for as long as others may take.
func TestReplicateIsServingWhenItHasTheState(t *testing.T) {
	t.Parallel()
	engine, dir := memregistry.New(), t.TempDir()
	serving := func(i *instance) bool {
		conn, err := grpc.NewClient("passthrough:///"+i.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetStatus() == healthpb.HealthCheckResponse_SERVING
	}
	healthy := func(i *instance) bool {
		_, err := get(t.Context(), http.DefaultClient, "http://"+i.http+"/healthz")
		return err == nil
	}
	var all []*instance
	for n := range 3 {
		i, _ := replicated(t, engine, fmt.Sprintf("stock-%d", n+1), dir)
		all = append(all, i.both(nil).run(t))
		if n == 0 && (serving(i) || healthy(i)) {
			t.Error("one of three says that it serves")
		}
	}
	for _, i := range all {
		eventually(t, i.Settings().Instance+" serves", func() bool { return serving(i) && healthy(i) })
	}
}
