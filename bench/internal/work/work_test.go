package work

import (
	"context"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/bench/internal/load"
	"github.com/holdfast-go/holdfast/bench/internal/work/workpb"
)

func TestMain(m *testing.M) {
	Child()
	goleak.VerifyTestMain(m)
}

func TestAQueueHasItsCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Load{Workers: 20, Mean: 20 * time.Millisecond, Straggler: 100 * time.Millisecond, Straggling: 0.1, Seed: 1}
		q := newQueue(l)
		q.slowDown(2)
		var done atomic.Int64
		var wg sync.WaitGroup
		for range 20_000 {
			wg.Go(func() { q.work(); done.Add(1) })
		}
		time.Sleep(20 * time.Second)
		want := l.Capacity() / 2 * 20
		if n := float64(done.Load()); math.Abs(n-want) > want/25 {
			t.Errorf("%v calls in 20 s of a queue that can do %v", n, want)
		}
		wg.Wait()
	})
}

func TestAChildIsKilledFrozenAndStartedAgain(t *testing.T) {
	for _, kind := range []Kind{Holdfast, Bare} {
		t.Run(string(kind), func(t *testing.T) {
			p, err := Start(t.Context(), Spec{Kind: kind, ID: "a", Load: Load{Workers: 1, Mean: time.Millisecond}})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			client, _, closeClient, err := DialBare(new(load.Recorder), p.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer closeClient()
			if err := Warm(t.Context(), client, 3); err != nil {
				t.Fatal(err)
			}

			p.Freeze()
			for frozen := time.Now().Add(time.Minute); ; { // its threads stop a moment later
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				resp, err := client.Do(ctx, &workpb.DoRequest{})
				cancel()
				if status.Code(err) == codes.DeadlineExceeded {
					break
				}
				if err != nil || time.Now().After(frozen) {
					t.Fatalf("a frozen server answers: %v, %v", resp, err)
				}
			}
			p.Thaw()
			if err := p.Set(Fault{Unavailable: true}); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := client.Book(t.Context(), &workpb.BookRequest{}); status.Code(err) == codes.Unavailable {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}

			addr := p.Addr
			p.Kill()
			if conn, err := net.Dial("tcp", addr); err == nil {
				conn.Close()
				t.Error("somebody listens where a server was killed")
			}
			if err := p.Restart(t.Context()); err != nil || p.Addr != addr {
				t.Fatal(p.Addr, err)
			}
			if err := Warm(t.Context(), client, 1); err != nil {
				t.Fatal(err)
			}
			if err := p.Terminate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAChildThatCannotServeSaysWhy(t *testing.T) {
	if _, err := Start(t.Context(), Spec{Kind: Bare, ID: "a", Addr: "127.0.0.1:x", Load: Load{Workers: 1}}); err == nil {
		t.Error("no error")
	} else {
		t.Log(err)
	}
}

func TestTheRosterFollowsAnEngineThatIsRestarted(t *testing.T) { restartEngine(t, EngineEtcd) }

func restartEngine(t *testing.T, engine string) {
	e, err := StartEngine(t.Context(), engine, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	roster, err := OpenRoster(e.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer roster.Close()
	p, err := Start(t.Context(), Spec{Kind: Stop, ID: "a", Load: Load{Workers: 1, Mean: time.Millisecond}, Registry: e.URL, Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := roster.Await(t.Context(), "1", "a"); err != nil {
		t.Fatal(err)
	}
	e.Kill()
	if err := e.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := roster.Await(ctx, "1", "a"); err != nil {
		t.Error(err)
	}
}
