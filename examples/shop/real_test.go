//go:build real && linux

// Package shop_test runs the shop as its users do: the holdfast command, every service a process, real etcd, a real
// browser. It reads /proc to know what became of the processes.
package shop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/drill"
	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// readyGoal is what a start with built programs is meant to take on an idle machine. It is logged; readyLimit is what
	// fails, because this machine may be busy.
	readyGoal  = 6 * time.Second
	readyLimit = 20 * time.Second
	// goneLimit is how long anything may be left after the end of up.
	goneLimit = 20 * time.Second
)

// The shop is built and started from its own system file, and broken in every way that smoke knows while customers are
// in it.
func TestRealShopUnderFire(t *testing.T) {
	site := newSite(t)
	site.writeSystem(t, site.sources)

	first := site.up(t)
	t.Logf("built, started and ready in %v", first.readyAfter.Round(time.Millisecond))
	first.down(t)

	shop := site.up(t)
	t.Logf("ready in %v with built programs (goal %v)", shop.readyAfter.Round(time.Millisecond), readyGoal)
	if shop.readyAfter > readyLimit {
		t.Errorf("ready after %v, with built programs; the limit is %v", shop.readyAfter, readyLimit)
	}

	for try := 1; ; try++ {
		stop := drill.WatchProcessors()
		report, err := fire(t, shop)
		took := stop()
		if err == nil {
			t.Logf("smoke:\n%s", report)
			break
		}
		if try < 3 && took != nil && (took.Share > 0.1 || len(took.Spans) > 0) {
			t.Logf("smoke: %v, while this machine's host took %.0f %% of its processors, and up to %.0f %%: once more\n%s", err, 100*took.Share, 100*took.Most, report)
			drill.AwaitProcessors(t.Context(), 3*time.Minute)
			continue
		}
		t.Errorf("smoke: %v\n%s\nwhat holdfast up printed:\n%s", err, report, shop.output())
		break
	}
	for _, i := range shop.instances(t) {
		if i.State != "ready" {
			t.Errorf("after all that, %s is %s (%s)", i.ID, i.State, i.Reason)
		}
	}
	shop.down(t)
}

// fire breaks the shop in every way that smoke knows. How much the machine can carry is not asked here: with smoke's own
// 100 requests a second, two processors have nothing to spare.
func fire(t *testing.T, shop *running) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	smoke := exec.CommandContext(ctx, programs(t).path("smoke"), "-short", "-rate", "40", "-edge", shop.edge(), "-control", shop.control)
	smoke.Cancel = func() error { return smoke.Process.Signal(syscall.SIGTERM) }
	smoke.WaitDelay = 10 * time.Second
	return smoke.CombinedOutput()
}

// Customers order while up is killed. Nothing of it is left, and what was acknowledged is found by the next up on the
// same data.
func TestRealKillOfUpLeavesNothing(t *testing.T) {
	const product, customers, enough = "stoneware-mug", 4, 40
	site := newSite(t)
	site.writeSystem(t, site.programs)
	shop := site.up(t)
	before := shop.stock(t, product)

	var mu sync.Mutex
	acknowledged, open := make(map[string]order), make(map[string]bool) // by key
	reached := make(chan struct{})
	shopping, leave := context.WithCancel(t.Context())
	defer leave()
	var crowd sync.WaitGroup
	for c := range customers {
		crowd.Go(func() {
			for n := 0; shopping.Err() == nil; n++ {
				key := fmt.Sprintf("fire-%d-%d", c, n)
				mu.Lock()
				open[key] = true
				mu.Unlock()
				o, err := shop.placeUntil(shopping, key, product)
				if err != nil {
					return // up is dead, and the order stays open
				}
				mu.Lock()
				delete(open, key)
				acknowledged[key] = o
				if len(acknowledged) == enough {
					close(reached)
				}
				mu.Unlock()
			}
		})
	}
	select {
	case <-reached:
	case <-time.After(time.Minute):
		t.Fatalf("the shop takes too long to take %d orders", enough)
	}

	processes := shop.processes(t)
	if want := 1 + 1 + len(shop.instances(t)); len(processes) < want { // up, its guardian, and all instances
		t.Fatalf("only %d processes found, want at least %d: %v", len(processes), want, processes)
	}
	if err := shop.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	<-shop.done
	eventually(t, goneLimit, "all processes are gone", func() error {
		return left(processes, site.data)
	})
	t.Logf("%d processes gone %v after kill -9 of up", len(processes), time.Since(killed).Round(time.Millisecond))
	leave()
	crowd.Wait()

	shop = site.up(t)
	t.Logf("ready again in %v; %d orders were acknowledged, %d were open", shop.readyAfter.Round(time.Millisecond), len(acknowledged), len(open))
	for key, want := range acknowledged {
		// What was on its way in messages is, too.
		eventually(t, time.Minute, "order "+want.ID+" of "+key+" is shipped", func() error {
			var got order
			if status, body := shop.get(t, "/api/orders/"+want.ID); status != http.StatusOK {
				return fmt.Errorf("%d %s", status, body)
			} else if decode(t, body, &got); got.Total != want.Total || got.Status != "shipped" {
				return fmt.Errorf("it was %+v, is %+v", want, got)
			}
			return nil
		})
	}
	// What was open is repeated, as its customer would; so is one that was answered. Each is one order in the end.
	for _, key := range slices.Concat(slices.Collect(maps.Keys(open)), slices.Collect(maps.Keys(acknowledged))[:1]) {
		var o order
		eventually(t, 30*time.Second, "order "+key+" is repeated", func() (err error) {
			o, err = shop.place(t.Context(), key, product)
			return err
		})
		if was, ok := acknowledged[key]; ok && was.ID != o.ID {
			t.Errorf("key %s stands for %s and for %s", key, was.ID, o.ID)
		}
		acknowledged[key] = o
	}
	for key := range acknowledged {
		var list struct {
			Orders []order `json:"orders"`
		}
		status, body := shop.get(t, "/api/orders?customer="+key)
		if decode(t, body, &list); status != http.StatusOK || len(list.Orders) != 1 {
			t.Errorf("customer %s has %d orders, want 1 (%d)", key, len(list.Orders), status)
		}
	}
	if got, want := shop.stock(t, product), before-len(acknowledged); got != want {
		t.Errorf("%d of %s left, want %d: %d at first, %d orders", got, product, want, before, len(acknowledged))
	}
	shop.down(t)
}

// Wherever its start is when it is killed: nothing is left, and the next start is like any other.
func TestRealKillOfUpWhileItStarts(t *testing.T) {
	site := newSite(t)
	site.writeSystem(t, site.programs)
	for _, ms := range []int{0, 20, 60, 120, 200, 300, 400, 600, 900} {
		shop := site.start(t)
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
		case <-shop.done:
			t.Fatalf("up ended: %v\n%s", shop.exit, shop.output())
		}
		processes := shop.processes(t)
		if err := shop.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-shop.done
		eventually(t, goneLimit, fmt.Sprintf("all of %d processes, killed after %d ms, are gone", len(processes), ms), func() error {
			return left(processes, site.data)
		})
	}
	shop := site.up(t)
	if _, err := shop.place(t.Context(), "after-all-that", "stoneware-mug"); err != nil {
		t.Error(err)
	}
	shop.down(t)
}

// order is what the shop says of an order.
type order struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Total  struct {
		Currency string `json:"currency"`
		Minor    int64  `json:"minor"`
	} `json:"total"`
}

// place orders one of a product for a customer of the key's name.
func (s *running) place(ctx context.Context, key, product string) (order, error) {
	body := fmt.Sprintf(`{"customer":%q,"items":[{"product":%q,"quantity":1}]}`, key, product)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.edge()+"/api/orders", strings.NewReader(body))
	if err != nil {
		return order{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := s.http.Do(req)
	if err != nil {
		return order{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return order{}, err
	}
	if resp.StatusCode != http.StatusCreated {
		return order{}, fmt.Errorf("order %s: %d %s", key, resp.StatusCode, answer)
	}
	var o order
	return o, json.Unmarshal(answer, &o)
}

// placeUntil repeats an order until it is taken, ctx ends or up has ended.
func (s *running) placeUntil(ctx context.Context, key, product string) (order, error) {
	for {
		o, err := s.place(ctx, key, product)
		if err == nil || ctx.Err() != nil {
			return o, err
		}
		select {
		case <-s.done:
			return order{}, err
		default:
		}
	}
}

// get asks the edge.
func (s *running) get(t *testing.T, path string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.edge()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func (s *running) stock(t *testing.T, product string) int {
	t.Helper()
	var p struct {
		Stock *int `json:"stock"`
	}
	eventually(t, 10*time.Second, "stock of "+product, func() error {
		if status, body := s.get(t, "/api/products/"+product); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		} else if decode(t, body, &p); p.Stock == nil {
			return fmt.Errorf("unknown: %s", body)
		}
		return nil
	})
	return *p.Stock
}

func (s *running) instances(t *testing.T) []control.Instance {
	t.Helper()
	all, err := s.api.Instances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
}

// eventually asks until there is no error, and fails with the last one after limit.
func eventually(t *testing.T, limit time.Duration, what string, try func() error) {
	t.Helper()
	late := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-late:
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		case <-tick.C:
		}
	}
}
