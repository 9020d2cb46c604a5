package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/holdfast-go/holdfast/bench/internal/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// points has one every five seconds of ten minutes.
func points(of func(s float64) (resident, heap float64)) []point {
	var out []point
	for at := time.Duration(0); at <= 10*time.Minute; at += sampleEvery {
		r, h := of(at.Seconds())
		out = append(out, point{at, r, h})
	}
	return out
}

func TestWhatGrows(t *testing.T) {
	for _, tc := range []struct {
		name  string
		of    func(s float64) (float64, float64)
		grows bool
	}{
		{"flat", func(float64) (float64, float64) { return 60, 20 }, false},
		{"up and down with each collection", func(s float64) (float64, float64) { return 60 + 20*math.Sin(s), 20 + math.Sin(s/7) }, false},
		{"what fills while it warms up", func(s float64) (float64, float64) { return min(60, s), min(20, s/3) }, false},
		{"a step in the middle of one sample", func(s float64) (float64, float64) {
			if s == 300 {
				return 600, 20
			}
			return 60, 20
		}, false},
		{"a little, though much of its level", func(s float64) (float64, float64) { return 10 + s/100, 2 + s/500 }, false},
		{"resident", func(s float64) (float64, float64) { return 60 + s/10, 20 }, true},
		{"reachable alone", func(s float64) (float64, float64) { return 60, 20 + s/30 }, true},
		{"nothing is known of the heap", func(float64) (float64, float64) { return 60, 0 }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := &line{name: "orders-1", pid: 1, points: points(tc.of)}
			if got := judge([]*line{l}, time.Minute); got[0].grows != tc.grows || got[0].ended {
				t.Errorf("%+v %+v grows %v, ended %v", got[0].resident, got[0].heap, got[0].grows, got[0].ended)
			}
		})
	}
}

// A process that is started again is not flat: it is another one. Nor is what nobody has seen, or done.
func TestReportSaysWhatIsWrong(t *testing.T) {
	flat := points(func(float64) (float64, float64) { return 60, 20 })
	whole, half := &line{name: "orders-1", service: "orders", pid: 1, points: flat}, &line{name: "orders-2", service: "orders", pid: 2, points: flat[:60]}
	glimpsed := &line{name: "cart-1", service: "cart", pid: 3, points: slices.Concat(flat[:5], flat[len(flat)-5:])}
	s := settings{length: 10 * time.Minute, warm: time.Minute, rate: 1, orders: 0.01} // six
	taken := load.Calls{{Class: order}, {Class: order}, {Class: order}, {Class: order}, {Class: order}, {Class: again}}
	one := map[string]int{"orders": 1}
	for _, tc := range []struct {
		lines []*line
		calls load.Calls
		seen  map[string]int
		want  string
	}{
		{[]*line{whole}, taken, one, "memory: flat"},
		{[]*line{whole, half}, taken, one, "ended"},
		{[]*line{whole}, append(load.Calls{{Err: os.ErrClosed, Due: 61 * time.Second, Took: time.Second}, {Err: os.ErrExist}}, taken...), one, "  1m1s, after 1s: file already closed\n  0s, after 0s: file already exists"},
		{[]*line{whole}, append(load.Calls{{Code: codes.ResourceExhausted}}, taken...), one, "  0s, after 0s: too many requests"},
		{[]*line{whole}, taken[2:], one, "too few orders were taken"},
		{[]*line{whole}, taken, map[string]int{"orders": 1, "payment": 1}, "payment: 0 of 1 processes"},
		{[]*line{whole}, taken, map[string]int{"orders": 2}, "orders: 1 of 2 processes"},
		{[]*line{whole, glimpsed}, taken, map[string]int{"orders": 1, "cart": 1}, "cart: 0 of 1 processes were seen 86 times"},
	} {
		var out strings.Builder
		verdicts := judge(tc.lines, s.warm)
		if failed := report(&out, s, tc.seen, tc.calls, verdicts); failed != (tc.want != "memory: flat") || !strings.Contains(out.String(), tc.want) {
			t.Errorf("want %q in\n%s", tc.want, out.String())
		}
		if p := string(page(s, tc.lines, verdicts, tc.calls)); strings.Count(p, "<polyline") != 2*len(tc.lines) {
			t.Errorf("page: %s", p)
		}
	}
}

// Customers buy what there is; any answer but yes is a failure, but for an order that is being repeated.
func TestCustomers(t *testing.T) {
	var sold sync.Map
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/products" && r.URL.Query().Get("limit") != "":
			fmt.Fprint(w, `{"products":[{"id":"few","stock":3},{"id":"many","stock":210},{"id":"unknown","stock":null},{"id":"none","stock":0}]}`)
		case r.URL.Path == "/api/products":
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodPut:
			w.WriteHeader(http.StatusNoContent)
		default:
			body, _ := io.ReadAll(r.Body)
			sold.Store(string(body), true)
			w.WriteHeader(http.StatusConflict)
		}
	}))
	defer shop.Close()
	calls, err := customers(t.Context(), settings{length: 300 * time.Millisecond, rate: 1000, orders: 300}, shop.URL)
	if err != nil {
		t.Fatal(err)
	}
	for class, failed := range map[int]bool{look: true, fill: false, again: false, order: true} {
		if of := calls.Of(class); len(of) == 0 || (of.Failed() == len(of)) != failed || (of.Failed() > 0) != failed {
			t.Errorf("class %d: %d of %d failed", class, of.Failed(), len(of))
		}
	}
	if last := calls.Of(order); !slices.ContainsFunc(last, func(c load.Call) bool { return errors.Is(c.Err, errSoldOut) }) {
		t.Error("more was sold than there is")
	}
	sold.Range(func(body, _ any) bool {
		if b := body.(string); strings.Contains(b, "unknown") || strings.Contains(b, "none") {
			t.Errorf("ordered: %s", b)
		}
		return true
	})
}

func TestReadResident(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err == nil {
		if got, err := readResident(os.Getpid()); err != nil || got < 1 {
			t.Errorf("%v MiB, %v", got, err)
		}
	}
	if got, err := readResident(-1); err == nil {
		t.Errorf("%v MiB of nobody", got)
	}
}

func TestParse(t *testing.T) {
	if s, err := parse([]string{"-short"}); err != nil || s.length != 3*time.Minute || s.warm != time.Minute {
		t.Errorf("%+v, %v", s, err)
	}
	for _, args := range [][]string{{"-for", "1m"}, {"-rate", "0"}, {"-orders", "-1"}, {"-orders", "99"}} {
		if s, err := parse(args); err == nil {
			t.Errorf("%v: %+v", args, s)
		}
	}
}
