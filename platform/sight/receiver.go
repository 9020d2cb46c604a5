package sight

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"golang.org/x/net/netutil"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-go/holdfast/failure"
)

const (
	// maxBody and maxUnpacked bound a request as it comes and when it is unpacked; maxJSON one in JSON, which takes more to read.
	maxBody     = 8 << 20
	maxUnpacked = 16 << 20
	maxJSON     = 4 << 20
	// maxAtOnce is how many requests are unpacked at once. Others wait, for as long as their clients do.
	maxAtOnce = 4
	// maxHeld bounds the bodies that are in memory, whole or in part, of all that waits or has not come yet.
	maxHeld        = 128 << 20
	maxConnections = 1024

	receiveTimeout = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	stopTimeout    = 2 * time.Second
)

// ReceiverConfig configures a Receiver. Its zero value listens on a free port of loopback.
type ReceiverConfig struct {
	// Addr is where it listens, "127.0.0.1:0" if empty. It knows no passwords: an address that is not loopback is refused
	// unless Insecure is set, for a network that nobody else is in.
	Addr     string
	Insecure bool
	// Logger gets what goes wrong; nil means slog.Default().
	Logger *slog.Logger
	// Tell, if set, is told in words that nothing can be handed on to a collector, once until it works again, and when it
	// does. It must not wait.
	Tell func(message string)
}

// Receiver takes what services tell by OTLP, at one address: over HTTP as protobuf and as JSON (/v1/traces, /v1/metrics,
// /v1/logs), and over gRPC, gzipped or not. It is a lifecycle Component.
type Receiver struct {
	store    *Store
	cfg      ReceiverConfig
	listener net.Listener
	http     *http.Server
	slots    chan struct{}
	held     atomic.Int64 // bytes of bodies
	forward  *forwarder
}

// signal is one of the three things that OTLP carries.
type signal struct {
	name    string // as in the path: /v1/traces
	rpc     string // path of the method of gRPC
	request protoreflect.MessageDescriptor
	add     func(*Store, []byte) (int, error)
}

var signals = []signal{
	{"traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export", (&tracepb.ExportTraceServiceRequest{}).ProtoReflect().Descriptor(), (*Store).AddTraces},
	{"metrics", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", (&metricspb.ExportMetricsServiceRequest{}).ProtoReflect().Descriptor(), (*Store).AddMetrics},
	{"logs", "/opentelemetry.proto.collector.logs.v1.LogsService/Export", (&logspb.ExportLogsServiceRequest{}).ProtoReflect().Descriptor(), (*Store).AddLogs},
}

// Listen listens at once, so that services can be told where; Run serves. A Receiver that is not run must be closed.
func Listen(store *Store, cfg ReceiverConfig) (*Receiver, error) {
	addr := cmp.Or(cfg.Addr, "127.0.0.1:0")
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("telemetry listen %s: %w", addr, err)
	}
	if ip, err := netip.ParseAddr(host); !cfg.Insecure && host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("telemetry listen %s: not a loopback address: whoever reaches it could say anything of any service", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("telemetry listen %s: %w", addr, err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r := &Receiver{store: store, cfg: cfg, listener: netutil.LimitListener(l, maxConnections), slots: make(chan struct{}, maxAtOnce), forward: newForwarder(cfg.Logger, cfg.Tell)}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC's
	r.http = &http.Server{
		Handler: r.Handler(), Protocols: protocols, ReadHeaderTimeout: receiveTimeout, ReadTimeout: receiveTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(quiet{cfg.Logger}, "", 0),
	}
	return r, nil
}

// quiet passes net/http's log on as debug records: it is almost always about a client that spoke garbage.
type quiet struct{ log *slog.Logger }

func (q quiet) Write(p []byte) (int, error) {
	q.log.Debug("telemetry", "http", string(p))
	return len(p), nil
}

// Name names the component in logs.
func (r *Receiver) Name() string { return "telemetry" }

// Addr is the address that the receiver listens on.
func (r *Receiver) Addr() string { return r.listener.Addr().String() }

// Forward makes the receiver hand on to a collector what comes under the path that it returns ("/to/0"), besides keeping it: as
// well as it can, with the headers that came with it, and without making anybody wait.
func (r *Receiver) Forward(to Collector) (path string, err error) {
	n, err := r.forward.add(to)
	return "/to/" + strconv.Itoa(n), err
}

// Close frees the address of a Receiver that will not be run.
func (r *Receiver) Close() error { return r.listener.Close() }

// Run serves until ctx ends. It returns nil then, after what is being received has been and what was to be handed on is, for each of
// which there are two seconds.
func (r *Receiver) Run(ctx context.Context) error {
	onward, end := context.WithCancel(context.WithoutCancel(ctx))
	var forwarding sync.WaitGroup
	defer forwarding.Wait()
	defer end() // when nothing comes any more
	forwarding.Go(func() { r.forward.run(onward) })
	served := make(chan error, 1)
	go func() { served <- r.http.Serve(r.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("telemetry serve %s: %w", r.Addr(), err)
	case <-ctx.Done():
	}
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	if err := r.http.Shutdown(stop); err != nil {
		_ = r.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("telemetry serve %s: %w", r.Addr(), err)
	}
	return nil
}

// Handler is what the receiver serves.
func (r *Receiver) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {}) // as collectors have one: it receives
	for _, s := range signals {
		mux.HandleFunc("POST /v1/"+s.name, func(w http.ResponseWriter, req *http.Request) { r.overHTTP(w, req, s) })
		mux.HandleFunc("POST /to/{number}/v1/"+s.name, func(w http.ResponseWriter, req *http.Request) { r.overHTTP(w, req, s) })
		mux.HandleFunc("POST "+s.rpc, func(w http.ResponseWriter, req *http.Request) { r.overGRPC(w, req, s) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Origin") != "" || !named(req.Host) {
			// A page in a browser, which has no business here, whatever name it has found for this address.
			http.Error(w, "this is for services", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, req)
	})
}

// named reports whether a Host is an address or localhost, and no name that somebody may have pointed here.
func named(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost"
}

// begin waits for a turn.
func (r *Receiver) begin(ctx context.Context) (end func(), err error) {
	wait := time.NewTimer(receiveTimeout)
	defer wait.Stop()
	select {
	case r.slots <- struct{}{}:
		return func() { <-r.slots }, nil
	case <-ctx.Done():
	case <-wait.C:
	}
	return nil, errTooMuch
}

func (r *Receiver) overHTTP(w http.ResponseWriter, req *http.Request, s signal) {
	kind, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
	isJSON := kind == "application/json"
	if !isJSON && kind != "application/x-protobuf" {
		http.Error(w, "the body must be application/x-protobuf or application/json", http.StatusUnsupportedMediaType)
		return
	}
	limit := maxUnpacked
	if isJSON {
		limit = maxJSON
	}
	err := r.receive(req, s, isJSON, limit, func(into *held) (string, error) {
		return req.Header.Get("Content-Encoding"), into.read(http.MaxBytesReader(w, req.Body, maxBody))
	})
	if err != nil {
		status := failure.HTTPStatus(failure.CodeOf(err))
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) || errors.Is(err, errTooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		if status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		if isJSON {
			_ = json.NewEncoder(w).Encode(struct {
				Code    int    `json:"code"`
				Message string `json:"message"`
			}{int(failure.CodeOf(err)), failure.From(err).Message}) // nobody is there any more, if that fails
			return
		}
		b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(failure.CodeOf(err)))
		_, _ = w.Write(protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), failure.From(err).Message))
		return
	}
	w.Header().Set("Content-Type", kind)
	if isJSON {
		_, _ = io.WriteString(w, "{}")
	}
}

func (r *Receiver) overGRPC(w http.ResponseWriter, req *http.Request, s signal) {
	if req.ProtoMajor != 2 || !strings.HasPrefix(req.Header.Get("Content-Type"), "application/grpc") {
		http.Error(w, "this is gRPC", http.StatusUnsupportedMediaType)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Grpc-Accept-Encoding", "gzip")
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	w.WriteHeader(http.StatusOK)
	err := r.receive(req, s, false, maxUnpacked, func(into *held) (string, error) {
		body := http.MaxBytesReader(w, req.Body, maxBody)
		var head [5]byte
		if _, err := io.ReadFull(body, head[:]); err != nil {
			return "", err
		}
		encoding := ""
		if head[0] == 1 {
			encoding = cmp.Or(req.Header.Get("Grpc-Encoding"), "identity")
		}
		size := int64(binary.BigEndian.Uint32(head[1:]))
		if size > maxBody {
			return "", errTooLarge
		}
		return encoding, into.read(io.LimitReader(body, size))
	})
	if err == nil {
		_, _ = w.Write(make([]byte, 5)) // an empty answer
	} else {
		w.Header().Set("Grpc-Message", strings.ReplaceAll(failure.From(err).Message, "%", "%25"))
	}
	w.Header().Set("Grpc-Status", strconv.Itoa(int(failure.CodeOf(err))))
}

var (
	errTooLarge = failure.New(failure.ResourceExhausted, "the body is larger than is taken")
	errTooMuch  = failure.New(failure.Unavailable, "too much comes at once")
)

// held is a body as it comes, counted in what all of them take.
type held struct {
	all   *atomic.Int64
	body  []byte
	taken int64
}

// read reads all of it.
func (h *held) read(from io.Reader) error {
	for {
		if len(h.body) == cap(h.body) {
			more := int64(max(4<<10, cap(h.body)))
			if h.taken += more; h.all.Add(more) > maxHeld {
				return errTooMuch
			}
			h.body = append(make([]byte, 0, cap(h.body)+int(more)), h.body...)
		}
		n, err := from.Read(h.body[len(h.body):cap(h.body)])
		h.body = h.body[:len(h.body)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (h *held) free() { h.all.Add(-h.taken) }

// receive reads a body, which takes as long as its sender does, unpacks it when its turn has come, and hands it to the store.
func (r *Receiver) receive(req *http.Request, s signal, isJSON bool, limit int, read func(*held) (encoding string, err error)) error {
	in := held{all: &r.held}
	defer in.free()
	encoding, err := read(&in)
	var body []byte
	if err == nil {
		end, late := r.begin(req.Context())
		if late != nil {
			return late
		}
		defer end()
		body, err = unpack(bytes.NewReader(in.body), encoding, limit)
	}
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.Is(err, errTooLarge) || errors.Is(err, errTooMuch) || errors.As(err, &tooLarge) {
			return err
		}
		return failure.Wrap(err, failure.InvalidArgument, "the body cannot be read")
	}
	if isJSON {
		if body, err = fromJSON(body, s.request); err != nil {
			return failure.Wrap(err, failure.InvalidArgument, "the body is not OTLP as JSON")
		}
	}
	_, err = s.add(r.store, body)
	if number, bad := strconv.Atoi(req.PathValue("number")); err == nil && bad == nil && number >= 0 {
		r.forward.hand(number, s, req.Header, body)
	}
	return err
}

// unpack reads a body of at most limit bytes.
func unpack(body io.Reader, encoding string, limit int) ([]byte, error) {
	switch encoding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		defer func() { _ = z.Close() }() // it has nothing to lose
		body = z
	default:
		return nil, failure.New(failure.Unimplemented, "the encoding %.32q is not known", encoding)
	}
	b, err := io.ReadAll(io.LimitReader(body, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = errTooLarge
	}
	return b, err
}
