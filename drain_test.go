package holdfast_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// Instances come and go while callers never stop: nobody may notice.
func TestDrainUnderLoad(t *testing.T) {
	t.Parallel()
	engine := memregistry.New()
	work := func(ctx context.Context) error { // longer than nothing, so that there is always something in flight
		timer := time.NewTimer(2 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	start := func(n int) *instance {
		return newInstance(t, engine, "orders", fmt.Sprintf("orders-%d", n), nil).both(work).run(t)
	}
	old := []*instance{start(1), start(2), start(3)}
	caller := newInstance(t, engine, "caller", "caller-1", nil).run(t)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls, failed atomic.Int64
	var served sync.Map
	note := func(id string, err error) {
		if ctx.Err() != nil {
			return
		}
		calls.Add(1)
		if err != nil {
			failed.Add(1)
			t.Errorf("call failed: %v", err)
			return
		}
		n, _ := served.LoadOrStore(id, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}
	count := func(id string) int64 {
		n, ok := served.Load(id)
		if !ok {
			return 0
		}
		return n.(*atomic.Int64).Load()
	}
	conn, client := caller.Dial("orders"), caller.HTTPClient()
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for ctx.Err() == nil {
				note(callGRPC(ctx, conn))
			}
		})
		callers.Go(func() {
			for ctx.Err() == nil {
				note(get(ctx, client, "http://orders/id"))
			}
		})
	}
	eventually(t, "all three serve", func() bool { return count("orders-1") > 10 && count("orders-2") > 10 && count("orders-3") > 10 })
	for n, o := range old {
		next := start(n + 4)
		eventually(t, "the new one serves", func() bool { return count(next.Settings().Instance) > 10 })
		o.stop(t)
		last := calls.Load()
		eventually(t, "calls go on without it", func() bool { return calls.Load() > last+100 })
	}
	cancel()
	callers.Wait()
	t.Logf("%d calls, %d failed", calls.Load(), failed.Load())
}

func TestWhatIsInFlightIsFinished(t *testing.T) {
	t.Parallel()
	engine := memregistry.New()
	began, release := make(chan struct{}, 2), make(chan struct{})
	a := newInstance(t, engine, "alpha", "alpha-1", nil)
	a.both(func(context.Context) error { began <- struct{}{}; <-release; return nil }).run(t)
	caller := newInstance(t, engine, "caller", "caller-1", nil)
	t.Cleanup(func() { caller.Close() })
	results := make(chan error, 2)
	conn, client := caller.Dial("alpha"), caller.HTTPClient()
	go func() { _, err := callGRPC(t.Context(), conn); results <- err }()
	go func() { _, err := get(t.Context(), client, "http://alpha/id"); results <- err }()
	<-began
	<-began
	a.cancel()
	eventually(t, "nobody is accepted any more", func() bool { return refusing(a.grpc) && refusing(a.http) })
	close(release)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	<-a.done
}

func refusing(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err == nil {
		c.Close()
	}
	return err != nil
}

func TestDrainTellsBeforeItStops(t *testing.T) {
	t.Parallel()
	engine := memregistry.New()
	a := newInstance(t, engine, "alpha", "alpha-1", func(c *holdfast.Config) { c.Settings.DrainDelay = 2 * time.Second }).both(nil).run(t)
	watch := a.Registry().Watch("alpha")
	defer watch.Stop()
	find := func(draining bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for {
			set, err := watch.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(set.Instances) == 1 && set.Instances[0].Draining == draining {
				return
			}
		}
	}
	find(false)
	conn, err := grpc.NewClient(a.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	health := func() healthpb.HealthCheckResponse_ServingStatus {
		r, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: grpc_testing.TestService_ServiceDesc.ServiceName})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetStatus()
	}
	healthz := func() string {
		_, err := get(t.Context(), plain, "http://"+a.http+"/healthz")
		return fmt.Sprint(err)
	}
	eventually(t, "healthy", func() bool { return health() == healthpb.HealthCheckResponse_SERVING && healthz() == "<nil>" })

	a.cancel()
	find(true)
	eventually(t, "not healthy", func() bool {
		return health() == healthpb.HealthCheckResponse_NOT_SERVING && healthz() == "503 Service Unavailable"
	})
	// Told, but still served.
	if got, err := callGRPC(t.Context(), conn); err != nil || got != "alpha-1" {
		t.Errorf("gRPC while draining: %q, %v", got, err)
	}
	if got, err := get(t.Context(), plain, "http://"+a.http+"/id"); err != nil || got != "alpha-1" {
		t.Errorf("HTTP while draining: %q, %v", got, err)
	}
	<-a.done
}
