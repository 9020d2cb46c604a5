//go:build real && linux

package shop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/examples/shop/gen/cartpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// growthLimit is how much more memory any process may take at its worst than it had before, in KiB.
	growthLimit = 160 << 10
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
	slowpokes := shop.openSlowly(t, ports)

	t.Run("garbage to every port", func(t *testing.T) { throwEverything(t, ports) })
	t.Run("bodies of 100 MB", func(t *testing.T) { shop.sendHugeBodies(t, ports) })
	t.Run("wrong requests at the edge", func(t *testing.T) { shop.askWrongly(t) })
	t.Run("wrong requests at the control API", func(t *testing.T) { shop.steerWrongly(t) })
	t.Run("wrong calls of every method", func(t *testing.T) { callWrongly(t, ports) })
	t.Run("slow clients are hung up on", func(t *testing.T) { awaitHangUp(t, ports, slowpokes) })

	t.Run("everything listens and answers", func(t *testing.T) { shop.answerAll(t, ports) })
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
	protocol    string // "http", "grpc", "etcd", or "peer" for what members say to each other
}

func (p port) String() string { return fmt.Sprintf("%s %s at %s", p.owner, p.protocol, p.addr) }

// ports asks the kernel who listens where, and the control API what for. That may learn of a port a moment after the
// service is ready.
func (r *running) ports(t *testing.T) []port {
	t.Helper()
	var all []port
	eventually(t, 5*time.Second, "everything that listens is known", func() (err error) {
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
	for _, p := range r.processes(t) {
		for _, addr := range listening(t, p.pid) {
			of, ok := known[addr]
			if !ok && !strings.HasPrefix(owners[p.pid], control.ControlService+"-") {
				return nil, fmt.Errorf("%v (%s) listens at %s, which nobody was told of", p, owners[p.pid], addr)
			} else if !ok {
				of = port{addr, owners[p.pid], "peer"}
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

// vitals are what must not change by bad input.
type vitals struct {
	instances map[string]control.Instance // by ID
	memory    map[string]memory           // by owner, "up" included
}

// health asks the command line, as one would.
func (r *running) health(t *testing.T) vitals {
	t.Helper()
	out, err := r.holdfast(t, "ps", "--json").Output()
	if err != nil {
		t.Fatalf("ps --json: %v", err)
	}
	var all []control.Instance
	decode(t, out, &all)
	v := vitals{make(map[string]control.Instance), make(map[string]memory)}
	pids := map[string]int{"up": r.cmd.Process.Pid}
	for _, i := range all {
		v.instances[i.ID] = i
		pids[i.ID] = i.PID
	}
	for owner, pid := range pids {
		if v.memory[owner], err = readMemory(pid); err != nil {
			t.Errorf("memory of %s: %v", owner, err)
		}
	}
	return v
}

// compare fails for whatever has been restarted, is gone, or has grown.
func (r *running) compare(t *testing.T, before vitals) {
	t.Helper()
	after := r.health(t)
	for id, was := range before.instances {
		is := after.instances[id]
		if is.PID != was.PID || is.Restarts != was.Restarts || is.State != "ready" {
			t.Errorf("%s was pid %d with %d restarts, is %q, pid %d with %d restarts (%s)", id, was.PID, was.Restarts, is.State, is.PID, is.Restarts, is.Reason)
		}
	}
	if len(after.instances) != len(before.instances) {
		t.Errorf("%d instances, were %d", len(after.instances), len(before.instances))
	}
	for _, owner := range slices.Sorted(maps.Keys(before.memory)) {
		was, is := before.memory[owner], after.memory[owner]
		t.Logf("memory of %-12s %4d MiB before, %4d at most, %4d after", owner, was.now>>10, is.peak>>10, is.now>>10)
		if is.peak > was.now+growthLimit {
			t.Errorf("%s took %d MiB, had %d MiB before; the limit is %d MiB more", owner, is.peak>>10, was.now>>10, growthLimit>>10)
		}
	}
}

// checkLogs fails for panics, of which those that are recovered show nowhere else.
func (r *running) checkLogs(t *testing.T) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(r.data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(filepath.Base(path), ".log") {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if lower := strings.ToLower(line); strings.Contains(lower, "panic") || strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "fatal error") {
				t.Errorf("%s: %s", filepath.Base(path), line)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if files == 0 {
		t.Errorf("no log files found in %s", r.data)
	}
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

func (r *running) openSlowly(t *testing.T, ports []port) []*slow {
	t.Helper()
	var all []*slow
	for _, p := range ports {
		beginnings := map[string]string{
			"slow header": "GET / HTTP/1.1\r\nHost: x\r\nX: ",
			"slow body":   "POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: 60000\r\n\r\n{\"a\":\"",
		}
		if p.protocol == "grpc" {
			beginnings = map[string]string{"slow preface": preface[:5]}
		}
		for kind, beginning := range beginnings {
			for range slowClients {
				s, err := begin(t.Context(), p.addr, kind, beginning)
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
		if p.protocol != "http" && p.protocol != "grpc" {
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
func (r *running) sendHugeBodies(t *testing.T, ports []port) {
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

// question is a request that is wrong, and what the answer has to be.
type question struct {
	method, path, body string
	status             int
	says               string // in the problem's text or in the name of a field
}

func (r *running) askWrongly(t *testing.T) {
	const cart = "/api/carts/ada/items/sencha"
	deep := strings.Repeat(`{"items":[`, 5000)
	for _, q := range []question{
		{"POST", "/api/orders", ``, 400, ""},
		{"POST", "/api/orders", `{`, 400, ""},
		{"POST", "/api/orders", `nonsense`, 400, ""},
		{"POST", "/api/orders", `null`, 400, ""},
		{"POST", "/api/orders", `"text"`, 400, ""},
		{"POST", "/api/orders", `{"customer":"ada","items":[}`, 400, ""},
		{"POST", "/api/orders", `{"customer":"ada"}{"customer":"ada"}`, 400, ""},
		{"POST", "/api/orders", "{\"customer\":\"\xff\xfe\",\"items\":[]}", 400, "customer"},
		{"POST", "/api/orders", `{"customer":"a\u0000b","items":[{"product":"sencha","quantity":1}]}`, 400, "customer"},
		{"POST", "/api/orders", `{"customer":"ada","items":[{"product":"sencha","quantity":-1}]}`, 400, "items[0].quantity"},
		{"POST", "/api/orders", `{"customer":"ada","items":[{"product":"sencha","quantity":1e400}]}`, 400, "quantity"},
		{"POST", "/api/orders", `{"customer":"ada","items":[{"product":"sencha","quantity":99999999999999999999}]}`, 400, "quantity"},
		{"POST", "/api/orders", `{"customer":"ada","items":[{"product":"../../etc/passwd","quantity":1}]}`, 400, "items[0].product"},
		{"POST", "/api/orders", `{"customer":["ada"],"items":{}}`, 400, ""},
		{"POST", "/api/orders", deep, 400, ""},
		{"POST", "/api/orders", strings.Repeat("[", 60_000), 400, ""},
		{"POST", "/api/orders", `{"customer":"` + strings.Repeat("a", 70_000) + `"}`, 413, ""},
		{"PUT", cart, `{"quantity":"many"}`, 400, "quantity"},
		{"PUT", cart, `{"quantity":1.5}`, 400, "quantity"},
		{"PUT", cart, `{"quantity":2147483648}`, 400, "quantity"},
		{"PUT", cart, strings.Repeat(`{"quantity":`, 5000), 400, ""},
		{"PUT", "/api/carts/a%00b/items/sencha", `{"quantity":1}`, 400, "customer"},
		{"PUT", "/api/carts/ada/items/%2e%2e%2f", `{"quantity":1}`, 405, ""},
		{"GET", "/api/carts/" + strings.Repeat("a", 5000), "", 400, "customer"},
		{"GET", "/api/orders/%ff%fe", "", 400, "UTF-8"},
		{"GET", "/api/orders/" + strings.Repeat("a", 5000), "", 400, "id"},
		{"GET", "/api/orders/ord-nothing", "", 404, ""},
		{"GET", "/api/orders?customer=%00", "", 400, "customer"},
		{"GET", "/api/orders?customer=a&customer=b", "", 0, ""},
		{"GET", "/api/products/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "", 404, ""},
		{"GET", "/api/products?limit=-1", "", 400, "limit"},
		{"GET", "/api/products?offset=9223372036854775808", "", 400, "offset"},
		{"GET", "/api/products?query=%ff%fe%00", "", 400, "UTF-8"},
		{"GET", "/api/nothing", "", 404, ""},
		{"BREW", "/api/products", "", 405, ""},
		{"TRACE", "/", "", 405, ""},
	} {
		r.ask(t, "http://"+r.site.edge, "", q)
	}
}

func (r *running) steerWrongly(t *testing.T) {
	const kill, scale = "/v1/kill", "/v1/scale"
	for _, q := range []question{
		{"POST", kill, ``, 400, "empty"},
		{"POST", kill, `{`, 400, "JSON"},
		{"POST", kill, `[]`, 400, "JSON"},
		{"POST", kill, `{}`, 400, "target"},
		{"POST", kill, `{"target":"nothing"}`, 404, "nothing"},
		{"POST", kill, `{"target":"orders"}`, 400, "orders-1"},
		{"POST", kill, `{"target":"orders-1","force":true}`, 400, "force"},
		{"POST", kill, `{"target":"orders-1"}{"target":"orders-2"}`, 400, "more than one"},
		{"POST", kill, `{"target":"` + strings.Repeat("a", 200) + `"}`, 400, "target"},
		{"POST", kill, `{"target":"` + strings.Repeat("a", 1<<20) + `"}`, 400, "larger"},
		{"POST", kill, strings.Repeat("[", 10_000), 400, "JSON"},
		{"POST", scale, `{"service":"inventroy","replicas":1}`, 404, "inventory"},
		{"POST", scale, `{"service":"orders"}`, 400, "replicas"},
		{"POST", scale, `{"service":"orders","replicas":-1}`, 400, "replicas"},
		{"POST", scale, `{"service":"orders","replicas":1000000}`, 400, "replicas"},
		{"POST", scale, `{"service":"control","replicas":1}`, 0, ""},
		{"GET", "/v1/logs?lines=many", "", 400, "lines"},
		{"GET", "/v1/logs?service=nothing", "", 404, "nothing"},
		{"GET", "/v1/nothing", "", 404, "/v1/nothing"},
	} {
		r.ask(t, "http://"+r.control, "", q)
	}
	// What a page elsewhere can make a browser send.
	foreign := question{"POST", kill, `{"target":"orders-1"}`, 403, ""}
	r.ask(t, "http://"+r.control, "http://example.com", foreign)
	r.ask(t, "http://"+r.control, "null", foreign)
}

// ask wants a client error that says what is wrong. Status 0 is for what may be taken one way or the other.
func (r *running) ask(t *testing.T, base, origin string, q question) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), q.method, base+q.path, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "wrong")
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	name := fmt.Sprintf("%s %.60s %.60q", q.method, q.path, q.body)
	resp, err := r.http.Do(req)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		t.Errorf("%s: %v", name, err)
	case q.status == 0 && resp.StatusCode < 500:
	case resp.StatusCode != q.status:
		t.Errorf("%s: %d, want %d: %s", name, resp.StatusCode, q.status, body)
	case !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json"):
		t.Errorf("%s: content type %q: %s", name, resp.Header.Get("Content-Type"), body)
	case !json.Valid(body) || len(body) > 16<<10:
		t.Errorf("%s: %d bytes: %.200s", name, len(body), body)
	case !strings.Contains(string(body), q.says):
		t.Errorf("%s: no word of %s: %s", name, q.says, body)
	}
}

// answerAll asks every port that is ours for its health, and the members for theirs.
func (r *running) answerAll(t *testing.T, ports []port) {
	for _, p := range ports {
		path := map[string]string{"http": "/healthz", "etcd": "/health", "peer": "/version"}[p.protocol]
		if p.owner == "control API" {
			path = "/v1/system"
		}
		if p.protocol == "grpc" {
			checkServing(t, p)
			continue
		}
		eventually(t, 10*time.Second, p.String(), func() error {
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

func dial(t *testing.T, p port) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
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

// services are those with gRPC, by the names of their instances.
var services = map[string]grpc.ServiceDesc{
	"cart": cartpb.Cart_ServiceDesc, "catalog": catalogpb.Catalog_ServiceDesc, "inventory": inventorypb.Inventory_ServiceDesc,
	"orders": orderspb.Orders_ServiceDesc, "payment": paymentpb.Payment_ServiceDesc,
}

// callWrongly calls every method of every service with messages that are none, with some that are too large, and with
// some whose fields are nonsense.
func callWrongly(t *testing.T, ports []port) {
	for _, p := range ports {
		service, number, _ := strings.Cut(p.owner, "-")
		if p.protocol != "grpc" || number != "1" {
			continue
		}
		desc, ok := services[service]
		if !ok {
			t.Errorf("nothing is known of %v", p)
			continue
		}
		conn := dial(t, p)
		random := newRandom(uint64(number[0]))
		for _, m := range desc.Methods {
			method := "/" + desc.ServiceName + "/" + m.MethodName
			for range 20 {
				callRaw(t, conn, method, noise(random, 1+random.IntN(2000)), "")
			}
			callRaw(t, conn, method, make([]byte, 8<<20), "", codes.ResourceExhausted)
			// A bomb: 16 MiB of zeros, in 16 KiB. A server that does not unpack is as safe as one that stops.
			callRaw(t, conn, method, make([]byte, 16<<20), gzip.Name, codes.ResourceExhausted, codes.Unimplemented)
		}
	}
	for _, call := range []struct {
		service, method string
		message         proto.Message
	}{
		{"cart", "SetItem", &cartpb.SetItemRequest{Customer: "../..", Product: "sencha", Quantity: 1}},
		{"cart", "SetItem", &cartpb.SetItemRequest{Customer: "ada", Product: "sencha", Quantity: -5}},
		{"cart", "Get", &cartpb.GetRequest{Customer: strings.Repeat("a", 1<<20)}},
		{"catalog", "Get", &catalogpb.GetRequest{Ids: slices.Repeat([]string{"sencha"}, 100_000)}},
		{"catalog", "Search", &catalogpb.SearchRequest{Offset: -1}},
		{"catalog", "Search", &catalogpb.SearchRequest{Query: strings.Repeat("a ", 100_000)}},
		{"inventory", "GetStock", &inventorypb.GetStockRequest{Products: slices.Repeat([]string{"sencha"}, 100_000)}},
		{"inventory", "Reserve", &inventorypb.ReserveRequest{Order: "o", Lines: []*inventorypb.Line{{Product: "sencha", Quantity: -9}}}},
		{"inventory", "Reserve", &inventorypb.ReserveRequest{Order: "o", Lines: []*inventorypb.Line{nil}}},
		{"inventory", "Reserve", &inventorypb.ReserveRequest{Order: "a/b", Lines: []*inventorypb.Line{{Product: "sencha", Quantity: 1}}}},
		{"orders", "Place", &orderspb.PlaceRequest{IdempotencyKey: "a b", Customer: "ada", Items: []*orderspb.Item{{Product: "sencha", Quantity: 1}}}},
		{"orders", "Place", &orderspb.PlaceRequest{IdempotencyKey: "k", Customer: "ada", Items: []*orderspb.Item{nil}}},
		{"orders", "Place", &orderspb.PlaceRequest{IdempotencyKey: "k", Customer: "ada", Items: slices.Repeat([]*orderspb.Item{{Product: "sencha", Quantity: 1}}, 10_000)}},
		{"orders", "List", &orderspb.ListRequest{Customer: "ada", Limit: -1}},
		{"orders", "Get", &orderspb.GetRequest{Id: "a/../b"}},
		{"payment", "Charge", &paymentpb.ChargeRequest{Key: "k", Customer: "ada", Currency: "EUR", Minor: -100}},
		{"payment", "Charge", &paymentpb.ChargeRequest{Key: "a/b", Customer: "ada", Currency: "EUR", Minor: 100}},
		{"payment", "Void", &paymentpb.VoidRequest{Key: ""}},
	} {
		at := slices.IndexFunc(ports, func(p port) bool { return p.owner == call.service+"-1" && p.protocol == "grpc" })
		if at < 0 {
			t.Fatalf("%s-1 has no gRPC", call.service)
		}
		b, err := proto.Marshal(call.message)
		if err != nil {
			t.Fatal(err)
		}
		callRaw(t, dial(t, ports[at]), "/"+services[call.service].ServiceName+"/"+call.method, b, "", codes.InvalidArgument)
	}
}

// callRaw sends bytes as a message. Without codes wanted it takes any answer that does not blame the server: bytes drawn
// at random are a message now and then.
func callRaw(t *testing.T, conn *grpc.ClientConn, method string, message []byte, compressor string, want ...codes.Code) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	opts := []grpc.CallOption{grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(64 << 20), grpc.MaxCallSendMsgSize(128 << 20)}
	if compressor != "" {
		opts = append(opts, grpc.UseCompressor(compressor))
	}
	var answer []byte
	err := conn.Invoke(ctx, method, &message, &answer, opts...)
	got := status.Code(err)
	switch {
	case len(want) == 0 && got != codes.Unavailable && got != codes.DeadlineExceeded && got != codes.Unknown:
	case slices.Contains(want, got):
	default:
		t.Errorf("%s with %d bytes %.20x (%s): %v, want %v", method, len(message), message, compressor, err, want)
	}
}

// rawCodec takes messages as the bytes they are.
type rawCodec struct{}

var _ encoding.Codec = rawCodec{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) { return bytes.Clone(*v.(*[]byte)), nil }

func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(b)
	return nil
}
