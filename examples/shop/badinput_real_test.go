//go:build real && linux

package shop_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// slowLimit is how soon our servers have to give up on clients that never get to the end of their request: 10 s, and
	// some for a busy machine.
	slowLimit = 30 * time.Second
	// slowClients are opened to every port.
	slowClients = 10
)

// Everything that listens is thrown garbage at, and everything that takes requests gets wrong ones. Nothing crashes,
// nothing grows, answers say what is wrong, and customers go on shopping.
func TestRealBadInput(t *testing.T) {
	site := newSite(t)
	site.writeSystem(t, site.programs)
	shop := site.up(t)
	ports := shop.ports(t)
	before := shop.health(t)
	hanging, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	slowpokes := openSlowly(hanging, t, ports)

	t.Run("garbage to every port", func(t *testing.T) { throwEverything(t, ports) })
	t.Run("bodies of 100 MB", func(t *testing.T) { sendHugeBodies(t, ports) })
	t.Run("wrong requests at the edge", func(t *testing.T) { shop.askWrongly(t) })
	t.Run("wrong requests at the control API", func(t *testing.T) { shop.steerWrongly(t) })
	t.Run("wrong calls of every method", func(t *testing.T) { callWrongly(t, ports) })
	t.Run("slow clients are hung up on", func(t *testing.T) { awaitHangUp(t, ports, slowpokes) })

	hangUp()

	t.Run("everything listens and answers", func(t *testing.T) { shop.answerAll(t, ports) })
	shop.awaitRelease(t, before)
	shop.compare(t, before)
	shop.checkLogs(t)
	if _, err := shop.placeUntil(t.Context(), "after-all-that", "stoneware-mug"); err != nil {
		t.Errorf("the shop does not take orders any more: %v", err)
	}
	shop.down(t)
}

// port is an address that some process of the system listens at.
type port struct {
	addr, owner string
	protocol    string // "http", "grpc", "etcd", or what members say to each other: "peer" those of etcd and of NATS, "raft" instances over gRPC
}

func (p port) String() string { return fmt.Sprintf("%s %s at %s", p.owner, p.protocol, p.addr) }

func (p port) speaksGRPC() bool { return p.protocol == "grpc" || p.protocol == "raft" }

// ports asks the kernel who listens where, and the control API what for. That may learn of a port a moment after the
// service is ready.
func (r *running) ports(t *testing.T) []port {
	t.Helper()
	var all []port
	eventually(t, 30*time.Second, "everything that listens is known", func() (err error) {
		all, err = r.listeners(t)
		return err
	})
	return all
}

func (r *running) listeners(t *testing.T) (all []port, err error) {
	t.Helper()
	known := map[string]port{
		r.control:   {r.control, "control API", "http"},
		r.site.edge: {r.site.edge, "edge", "http"},
	}
	owners := map[int]string{r.cmd.Process.Pid: "up"}
	for _, i := range r.instances(t) {
		owners[i.PID] = i.ID
		for protocol, addr := range i.Addrs {
			if i.Service == control.ControlService {
				protocol = "etcd"
			}
			known[addr] = port{addr, i.ID, protocol}
		}
	}
	client := control.NewClient(r.control)
	defer client.Close()
	live, err := client.Snapshot(t.Context())
	if err != nil {
		return nil, err
	}
	known[live.Info.Telemetry] = port{live.Info.Telemetry, "OTLP", "http"}
	for _, i := range live.Instances {
		if i.Service == control.ControlService {
			continue
		}
		if i.Admin == "" {
			return nil, fmt.Errorf("%s has not said yet where its admin listener is", i.ID)
		}
		known[i.Admin] = port{i.Admin, i.ID + "'s admin listener", "http"}
	}
	for _, p := range r.processes(t) {
		for _, addr := range listening(t, p.pid) {
			of, ok := known[addr]
			if !ok && !hasPeers(owners[p.pid]) {
				return nil, fmt.Errorf("%v (%s) listens at %s, which nobody was told of", p, owners[p.pid], addr)
			} else if !ok {
				of = port{addr, owners[p.pid], "raft"}
				if strings.HasPrefix(owners[p.pid], control.ControlService+"-") {
					of.protocol = "peer"
				}
			}
			delete(known, addr)
			all = append(all, of)
		}
	}
	if len(known) > 0 {
		return nil, fmt.Errorf("nobody listens at %v", slices.Collect(maps.Values(known)))
	}
	return all, nil
}

// hasPeers reports whether an instance listens for others of its kind, beside what the control API knows.
func hasPeers(instance string) bool {
	service, _, _ := strings.Cut(instance, "-")
	return slices.Contains([]string{control.ControlService, "cart", "inventory", "orders", "payment", "shipping", "analytics"}, service)
}

// throwEverything throws all garbage at all ports, one port after the other getting each kind, several ports at a time.
func throwEverything(t *testing.T, ports []port) {
	kinds := allGarbage()
	t.Logf("%d ports, %d kinds of garbage", len(ports), len(kinds))
	var several errgroup.Group
	several.SetLimit(6)
	for n, p := range ports {
		several.Go(func() error {
			for k, g := range kinds {
				if err := throw(t.Context(), p.addr, g, uint64(n*1000+k)); err != nil {
					t.Errorf("%v does not take a connection, for %v", p, err)
					return nil
				}
			}
			return nil
		})
	}
	_ = several.Wait() // reported as they came
}

// openSlowly opens connections that end with ctx, unless the server ends them.
func openSlowly(ctx context.Context, t *testing.T, ports []port) []*slow {
	t.Helper()
	var all []*slow
	for _, p := range ports {
		beginnings := map[string]string{
			"slow header": "GET / HTTP/1.1\r\nHost: x\r\nX: ",
			"slow body":   "POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: 60000\r\n\r\n{\"a\":\"",
		}
		if p.speaksGRPC() {
			beginnings = map[string]string{"slow preface": preface[:5]}
		}
		for kind, beginning := range beginnings {
			for range slowClients {
				s, err := begin(ctx, p.addr, kind, beginning)
				if err != nil {
					t.Fatalf("%v: %v", p, err)
				}
				all = append(all, s)
			}
		}
	}
	return all
}

// awaitHangUp waits for the servers that are ours; etcd has its own idea of patience.
func awaitHangUp(t *testing.T, ports []port, slowpokes []*slow) {
	limit, cancel := context.WithTimeout(t.Context(), slowLimit)
	defer cancel()
	waiting := make(map[string]int)
	for _, s := range slowpokes {
		p := ports[slices.IndexFunc(ports, func(p port) bool { return p.addr == s.addr })]
		if p.protocol != "http" && !p.speaksGRPC() {
			continue
		}
		select {
		case <-s.closed:
		case <-limit.Done():
			waiting[fmt.Sprintf("%v for clients with a %s", p, s.kind)]++
		}
	}
	for who, n := range waiting {
		t.Errorf("%s: still waits for %d of %d", who, n, slowClients)
	}
}

// sendHugeBodies sends 100 MB to all that speak HTTP and are ours: with a length, and in chunks.
func sendHugeBodies(t *testing.T, ports []port) {
	const size = 100_000_000
	for _, p := range ports {
		if p.protocol != "http" {
			continue
		}
		path := "/api/orders"
		if p.owner == "control API" {
			path = "/v1/kill"
		}
		for _, chunked := range []bool{false, true} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.addr+path,
				io.MultiReader(strings.NewReader(`{"customer":"`), io.LimitReader(letters{}, size)))
			if err != nil {
				t.Fatal(err)
			}
			if !chunked {
				req.ContentLength = size
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", "huge")
			req.Header.Set("Expect", "100-continue") // as curl does: time for the answer to come before the body
			client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Second, DisableKeepAlives: true}, Timeout: 30 * time.Second}
			resp, err := client.Do(req)
			if err != nil {
				t.Errorf("%v, chunked %v: %v", p, chunked, err)
				continue
			}
			problem := failure.ReadProblem(resp)
			resp.Body.Close()
			// Some have nothing at this path; what matters is that they say so instead of reading all that.
			if resp.StatusCode < 400 || resp.StatusCode >= 500 || problem.Message == "" {
				t.Errorf("%v, chunked %v: %d %+v", p, chunked, resp.StatusCode, problem)
			}
			if p.owner == "edge" && resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("%v, chunked %v: %d, want 413", p, chunked, resp.StatusCode)
			}
		}
	}
}

// letters is a reader without an end.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// answerAll asks every port that is ours for its health, and the members for theirs.
func (r *running) answerAll(t *testing.T, ports []port) {
	for _, p := range ports {
		path := map[string]string{"http": "/healthz", "etcd": "/health", "peer": "/version"}[p.protocol]
		if p.owner == "control API" {
			path = "/v1/system"
		}
		if p.speaksGRPC() {
			checkServing(t, p)
			continue
		}
		eventually(t, 10*time.Second, p.String(), func() error {
			if p.protocol == "peer" && greets(p) == nil {
				return nil
			}
			resp, err := r.http.Get("http://" + p.addr + path)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s", resp.Status)
			}
			return nil
		})
	}
}

// greets is nil if a NATS server is at p: it speaks first.
func greets(p port) error {
	conn, err := net.DialTimeout("tcp", p.addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	hello := make([]byte, len("INFO "))
	if _, err := io.ReadFull(conn, hello); err != nil || string(hello) != "INFO " {
		return fmt.Errorf("it says %q: %w", hello, err)
	}
	return nil
}

func checkServing(t *testing.T, p port) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	answer, err := healthpb.NewHealthClient(dial(t, p)).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%v: %v, %v", p, answer, err)
	}
}
