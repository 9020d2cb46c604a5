package sight_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	logs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/sight"
)

// receive runs a receiver until the test ends.
func receive(t *testing.T) (*sight.Store, *sight.Receiver) {
	t.Helper()
	s := sight.New(sight.Config{})
	r, err := sight.Listen(s, sight.ReceiverConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return s, r
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

// inJSON is the request as OTLP has it in JSON: with IDs in hexadecimal, which protojson has in base64.
func inJSON(t *testing.T, w *world) []byte {
	t.Helper()
	b, err := protojson.Marshal(request(w.spans))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, s := range w.spans {
		for _, id := range [][]byte{s.span.GetTraceId(), s.span.GetSpanId(), s.span.GetParentSpanId()} {
			text = strings.ReplaceAll(text, `"`+base64.StdEncoding.EncodeToString(id)+`"`, `"`+hexOf(id)+`"`)
		}
	}
	return []byte(text)
}

func post(t *testing.T, url, kind, encoding string, body []byte) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

func TestReceive(t *testing.T) {
	w := &world{trace: 1}
	begun(w, 14)
	fails(w.call(5, 4, "gateway-1", "orders", place, 1, 12, attrs{"n", 7, "f", 1.5, "list", []string{"a", "b"}, "ok", true}), "UNAVAILABLE", "no")
	want := func(t *testing.T, s *sight.Store) {
		t.Helper()
		got, err := s.Trace(hexID(1))
		if err != nil || len(got.Tree) != 5 {
			t.Fatalf("%d spans, %v", len(got.Tree), err)
		}
		last := got.Tree[4]
		if last.Code != "UNAVAILABLE" || last.Error != "no" || last.Attributes["n"] != int64(7) || last.Attributes["f"] != 1.5 || last.Attributes["ok"] != true ||
			fmt.Sprint(last.Attributes["list"]) != "[a b]" || last.Instance != "gateway-1" || last.Service != "gateway" || last.Kind != control.SpanInternal {
			t.Errorf("%+v", last)
		}
	}
	for _, tc := range []struct {
		name, kind, encoding string
		body                 []byte
	}{
		{"protobuf", "application/x-protobuf", "", marshal(t, w)},
		{"protobuf, zipped", "application/x-protobuf", "gzip", zipped(marshal(t, w))},
		{"JSON", "application/json", "", inJSON(t, w)},
		{"JSON, zipped", "application/json; charset=utf-8", "gzip", zipped(inJSON(t, w))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, r := receive(t)
			if resp := post(t, "http://"+r.Addr()+"/v1/traces", tc.kind, tc.encoding, tc.body); resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status)
			}
			want(t, s)
		})
	}
	for _, opts := range [][]grpc.CallOption{nil, {grpc.UseCompressor("gzip")}} {
		t.Run(fmt.Sprint("gRPC, options: ", len(opts)), func(t *testing.T) {
			s, r := receive(t)
			conn, err := grpc.NewClient(r.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := collector.NewTraceServiceClient(conn).Export(t.Context(), request(w.spans), opts...); err != nil {
				t.Fatal(err)
			}
			want(t, s)
			if _, err := metrics.NewMetricsServiceClient(conn).Export(t.Context(), &metrics.ExportMetricsServiceRequest{}, opts...); err != nil {
				t.Error(err)
			}
			if _, err := logs.NewLogsServiceClient(conn).Export(t.Context(), &logs.ExportLogsServiceRequest{}, opts...); err != nil {
				t.Error(err)
			}
			bad := grpc.ForceCodec(garbage{})
			if err := conn.Invoke(t.Context(), collector.TraceService_Export_FullMethodName, "x", nil, bad); status.Code(err) != codes.InvalidArgument {
				t.Errorf("garbage: %v", err)
			}
		})
	}
}

type garbage struct{}

func (garbage) Name() string                { return "proto" }
func (garbage) Marshal(any) ([]byte, error) { return []byte("\xff\xff\xffgarbage"), nil }
func (garbage) Unmarshal([]byte, any) error { return nil }

func TestReceiveNothingElse(t *testing.T) {
	s, r := receive(t)
	base := "http://" + r.Addr()
	bomb := zipped(make([]byte, 20<<20))
	for _, tc := range []struct {
		name, path, kind, encoding string
		body                       []byte
		want                       int
	}{
		{"garbage", "/v1/traces", "application/x-protobuf", "", []byte("\xff\xff\xff\xff"), 400},
		{"half of one", "/v1/traces", "application/x-protobuf", "", []byte{0x0a, 0x7f, 0x01}, 400},
		{"garbage as JSON", "/v1/traces", "application/json", "", []byte(`{"resourceSpans":[{]}`), 400},
		{"deep JSON", "/v1/traces", "application/json", "", []byte(`{"x":` + strings.Repeat("[", 10_000)), 400},
		{"an ID that is none", "/v1/traces", "application/json", "", []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz"}]}]}]}`), 400},
		{"zipped garbage", "/v1/metrics", "application/x-protobuf", "gzip", []byte("not gzip"), 400},
		{"a bomb", "/v1/traces", "application/x-protobuf", "gzip", bomb, 413},
		{"a bomb of JSON", "/v1/traces", "application/json", "gzip", bomb, 413},
		{"a large body", "/v1/logs", "application/x-protobuf", "", make([]byte, 9<<20), 413},
		{"another encoding", "/v1/traces", "application/x-protobuf", "br", nil, 400},
		{"a form", "/v1/traces", "application/x-www-form-urlencoded", "", nil, 415},
		{"elsewhere", "/v2/traces", "application/x-protobuf", "", nil, 404},
		{"gRPC over HTTP/1", "/opentelemetry.proto.collector.trace.v1.TraceService/Export", "application/grpc", "", nil, 415},
	} {
		if resp := post(t, base+tc.path, tc.kind, tc.encoding, tc.body); resp.StatusCode != tc.want {
			t.Errorf("%s: %s, want %d", tc.name, resp.Status, tc.want)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"a page":           func(r *http.Request) { r.Header.Set("Origin", "http://"+r.Host) },
		"a name of others": func(r *http.Request) { r.Host = "evil.example:4318" },
	} {
		req := httptest.NewRequest(http.MethodPost, base+"/v1/traces", http.NoBody)
		req.Header.Set("Content-Type", "application/x-protobuf")
		change(req)
		w := httptest.NewRecorder()
		if r.Handler().ServeHTTP(w, req); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if got := s.Traces(control.TraceQuery{}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:0", "example.org:0", "nonsense"} {
		if r, err := sight.Listen(s, sight.ReceiverConfig{Addr: addr}); err == nil {
			r.Close()
			t.Errorf("listens on %s", addr)
		}
	}
}

// What comes for a collector reaches it, with the headers that it wants; one that is not there holds nobody up.
func TestForward(t *testing.T) {
	w := &world{trace: 1}
	begun(w, 14)
	got := make(chan *http.Request, 4)
	var bodies sync.Map
	there := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		bodies.Store(req.URL.Path, b)
		got <- req
	}))
	defer there.Close()
	s, r := receive(t)
	path, err := r.Forward(sight.Collector{Traces: sight.Target{URL: there.URL + "/in/v1/traces"}, Metrics: sight.Target{URL: "http://127.0.0.1:1", GRPC: true}})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.Forward(sight.Collector{Logs: sight.Target{URL: "ftp://x"}}); err == nil {
		t.Errorf("takes a collector that is none: %s", again)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.Addr()+path+"/v1/traces", bytes.NewReader(zipped(marshal(t, w))))
	req.Header = http.Header{"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"gzip"}, "Api-Key": {"secret"}}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	post(t, "http://"+r.Addr()+path+"/v1/metrics", "application/x-protobuf", "", nil)
	on := <-got
	body, _ := bodies.Load("/in/v1/traces")
	if on.Header.Get("Api-Key") != "secret" || on.Header.Get("Content-Encoding") != "" || !bytes.Equal(body.([]byte), marshal(t, w)) {
		t.Errorf("%v, %d bytes", on.Header, len(body.([]byte)))
	}
	if _, err := s.Trace(hexID(1)); err != nil {
		t.Error(err)
	}
}
