package sight_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/sight"
)

// checkout is a trace of 20 spans as the shop makes them, in a request by itself.
func checkout(tb testing.TB) []byte {
	tb.Helper()
	w := &world{trace: 1}
	begun(w, 60)
	for i := range 4 {
		id := 10 * (i + 1)
		service := []string{"orders", "inventory", "payment", "catalog"}[i]
		w.call(id, 4, "gateway-1", service, "shop.v1."+service+"/Do", float64(i), 10, attrs{"holdfast.call.attempts", 1, "holdfast.call.hedged", false, "holdfast.call.remaining_ms", 1900.5, "holdfast.call.criticality", "critical", "rpc.system.name", "grpc", "rpc.method", "shop.v1." + service + "/Do", "holdfast.keep", "sampled"})
		w.try(id+1, id, "gateway-1", service, 1, service+"-2", float64(i), 9, attrs{"holdfast.attempt.sent", "maybe sent", "holdfast.budget.tokens", 100.0, "holdfast.throttle.refusing", 0.0, "network.peer.address", "127.0.0.1:12345", "rpc.response.status_code", "OK", "rpc.method", "shop.v1." + service + "/Do"})
		w.serve(id+2, id+1, service+"-2", "shop.v1."+service+"/Do", float64(i)+1, 7, attrs{"holdfast.waited_ms", .02, "holdfast.in_flight", 3, "holdfast.limit", 100, "holdfast.deadline_left_ms", 1890.2, "rpc.response.status_code", "OK"})
		w.span(id+3, id+2, service+"-2", "internal", "work", float64(i)+2, 3, attrs{"order.id", "0123456789abcdef"})
	}
	b, err := proto.Marshal(request(w.spans))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// another makes another trace of the same bytes, a moment later.
func another(b []byte, n uint64) {
	old := append([]byte{10, 16}, traceBytes(1)...) // field 1, 16 bytes
	id := binary.BigEndian.AppendUint64(nil, n*0x9E3779B97F4A7C15+1)
	for from := 0; ; {
		i := bytes.Index(b[from:], old[:2])
		if i < 0 {
			return
		}
		from += i + 2
		if from+17 < len(b) && b[from+16] == 18 && b[from+17] == 8 { // the ID of the span follows
			copy(b[from:], id)
			copy(b[from+8:], id)
		}
	}
}

func BenchmarkAddTraces(b *testing.B) {
	s := sight.New(sight.Config{})
	body := checkout(b)
	spans := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		another(body, uint64(i))
		n, err := s.AddTraces(body)
		if err != nil {
			b.Fatal(err)
		}
		spans += n
	}
	b.ReportMetric(float64(spans)/b.Elapsed().Seconds(), "spans/s")
}

// BenchmarkQuery asks a store that is full.
func BenchmarkQuery(b *testing.B) {
	s := sight.New(sight.Config{})
	body := checkout(b)
	for i := 0; ; i++ {
		another(body, uint64(i))
		if _, err := s.AddTraces(body); err != nil {
			b.Fatal(err)
		}
		if n, _, _ := s.Bytes(); n > 63<<20 {
			break
		}
	}
	begin := time.Now()
	last := s.Traces(control.TraceQuery{Limit: 1})[0]
	b.Logf("first question %v", time.Since(begin))
	for name, q := range map[string]control.TraceQuery{
		"last": {}, "nowhere": {Text: "nowhere"}, "errors": {Status: control.TraceError}, "a thousand": {Limit: 1000}, "slow": {Min: time.Hour},
	} {
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			for b.Loop() {
				s.Traces(q)
			}
		})
	}
	b.Run("trace", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Trace(last.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("prefix", func(b *testing.B) {
		for b.Loop() {
			_, _ = s.Trace("abcdef123")
		}
	})
	b.Run("explain", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Explain(last.ID, "en"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("graph", func(b *testing.B) {
		for b.Loop() {
			s.Graph()
		}
	})
}
