package sight

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	packer "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
)

const (
	maxForwarded    = 256      // requests that wait to be handed on, of one target
	maxTargetSize   = 16 << 20 // bytes of them, with the metrics that are held
	maxForwardSize  = 64 << 20 // the same of all targets
	forwardTimeout  = 10 * time.Second
	complaintEvery  = time.Minute
	maxCollectors   = 64
	thinningQuantum = time.Second
	lastWords       = 2 * time.Second // for what has not been sent at the end
)

// Collector is where a user wants to have, too, what services tell.
type Collector struct {
	// Traces, Metrics and Logs are where each is sent to: the whole URL for HTTP ("https://collector:4318/v1/traces"), and
	// scheme, host and port for gRPC ("http://collector:4317"). Empty: it is not handed on.
	Traces, Metrics, Logs Target
}

// Target is an address of a Collector, and how it is spoken to.
type Target struct {
	URL  string
	GRPC bool // rather than protobuf over HTTP
	Gzip bool
	// CA, Cert and Key are files in PEM: of whoever may have signed the target's certificate, instead of those whom the machine
	// trusts, and of what the target is shown. They are read once, by Forward.
	CA, Cert, Key string
	Timeout       time.Duration // of one request; 0 means 10 s
	// Every is how often the target is sent the metrics of one process: the newest of each such time, of which each must
	// say all (cumulative). 0: all that come.
	Every time.Duration
}

func (c Collector) of(signal string) Target {
	switch signal {
	case "traces":
		return c.Traces
	case "metrics":
		return c.Metrics
	}
	return c.Logs
}

// forwarder hands on what came, as well as it can: what there is no room for, or what the collector does not take, is gone,
// and nobody waits for it.
type forwarder struct {
	log  *slog.Logger
	tell func(string) // people, of a target that fails, and when it works again

	mu         sync.Mutex
	collectors []Collector
	outlets    map[Target]*outlet
	size       int
	ctx        context.Context //nolint:containedctx // of run, while it runs
	sending    context.Context //nolint:containedctx // of what is sent, which outlasts ctx by lastWords
	running    sync.WaitGroup
}

// outlet is a target with a queue and a worker of its own, so that one that is slow makes none of the others wait.
type outlet struct {
	*forwarder
	to      Target
	host    string
	tls     *tls.Config
	http    *http.Client
	conn    *grpc.ClientConn // of the worker
	waiting chan forwarded

	// With mu of the forwarder:
	size       int
	lost       uint64
	complained time.Time
	failing    bool
	told       bool // people, that it fails
	held       map[[sha256.Size]byte]*holding
}

type forwarded struct {
	signal signal
	header http.Header
	body   []byte
}

// holding is the newest of the metrics of one process that have not been sent yet.
type holding struct {
	forwarded
	due time.Time
}

func newForwarder(log *slog.Logger, tell func(string)) *forwarder {
	if tell == nil {
		tell = func(string) {}
	}
	return &forwarder{log: log, tell: tell, outlets: make(map[Target]*outlet)}
}

// add returns the number of a collector; the same one for the same.
func (f *forwarder) add(c Collector) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, known := range f.collectors {
		if known == c {
			return i, nil
		}
	}
	if len(f.collectors) >= maxCollectors {
		return 0, fmt.Errorf("hand telemetry on: to more than %d collectors", maxCollectors)
	}
	fresh := make(map[Target]*outlet)
	for _, t := range []Target{c.Traces, c.Metrics, c.Logs} {
		if t.URL == "" || f.outlets[t] != nil {
			continue
		}
		o, err := f.open(t)
		if err != nil {
			return 0, err
		}
		fresh[t] = o
	}
	for t, o := range fresh {
		f.outlets[t] = o
		f.start(o)
	}
	f.collectors = append(f.collectors, c)
	return len(f.collectors) - 1, nil
}

func (f *forwarder) open(t Target) (*outlet, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("hand telemetry on: %.100q is no URL of a collector", t.URL)
	}
	secured := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("hand telemetry on to %s: %w", u.Host, err)
		}
		secured.RootCAs = x509.NewCertPool()
		if !secured.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("hand telemetry on to %s: %s has no certificates", u.Host, t.CA)
		}
	}
	if t.Cert != "" || t.Key != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("hand telemetry on to %s: %w", u.Host, err)
		}
		secured.Certificates = []tls.Certificate{pair}
	}
	return &outlet{
		forwarder: f, to: t, host: u.Host, tls: secured, waiting: make(chan forwarded, maxForwarded), held: make(map[[sha256.Size]byte]*holding),
		http: &http.Client{
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: secured, ForceAttemptHTTP2: true, IdleConnTimeout: idleTimeout},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// hand takes a good request for a collector. The body is the forwarder's from then on.
func (f *forwarder) hand(number int, s signal, header http.Header, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if number >= len(f.collectors) {
		return
	}
	o := f.outlets[f.collectors[number].of(s.name)]
	if o == nil {
		return
	}
	one := forwarded{s, passed(header), body}
	if o.to.Every > 0 && s.name == "metrics" {
		o.hold(one)
		return
	}
	o.enqueue(one)
}

// hold keeps one for later, instead of what the same process said before. It is called with mu held.
func (o *outlet) hold(one forwarded) {
	key := sourceOf(one.body)
	h := o.held[key]
	if h == nil {
		h = &holding{due: time.Now().Add(o.to.Every)}
	}
	if more := len(one.body) - len(h.body); o.fits(more) && (len(o.held) < maxSources || o.held[key] != nil) {
		o.grow(more)
		h.forwarded, o.held[key] = one, h
		return
	}
	o.lose("more comes than there is room for")
}

// release sends what has been held for long enough.
func (o *outlet) release(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, h := range o.held {
		if !now.Before(h.due) {
			delete(o.held, key)
			o.grow(-len(h.body))
			o.enqueue(h.forwarded)
		}
	}
}

// enqueue is called with mu held.
func (o *outlet) enqueue(one forwarded) {
	if o.fits(len(one.body)) {
		select {
		case o.waiting <- one:
			o.grow(len(one.body))
			return
		default:
		}
	}
	o.lose("the collector is slower than the services")
}

func (o *outlet) fits(n int) bool {
	return o.size+n <= maxTargetSize && o.forwarder.size+n <= maxForwardSize
}

func (o *outlet) grow(n int) {
	o.size += n
	o.forwarder.size += n
}

// passed are the headers that are the collector's business: how one may send to it.
func passed(from http.Header) http.Header {
	to := from.Clone()
	for _, name := range []string{
		"Content-Type", "Content-Length", "Content-Encoding", "Accept-Encoding", "Connection", "Transfer-Encoding", "Te", "Trailer",
		"Upgrade", "Keep-Alive", "Proxy-Connection", "Grpc-Encoding", "Grpc-Accept-Encoding", "Grpc-Timeout",
	} {
		to.Del(name)
	}
	return to
}

// lose is called with mu held, when something is gone. People are told once, until it works again; a log has a line a minute.
func (o *outlet) lose(why string) {
	o.lost++
	o.failing = true
	if time.Since(o.complained) < complaintEvery && !o.complained.IsZero() {
		return
	}
	o.complained = time.Now()
	o.log.Warn("telemetry is not handed on", "to", o.host, "error", why, "lost", o.lost)
	if !o.told {
		o.told = true
		o.tell("telemetry does not reach " + o.host + ": " + why)
	}
}

// works is called with mu held, when something was sent.
func (o *outlet) works() {
	if !o.failing || len(o.waiting) > 0 {
		return
	}
	o.failing = false
	if o.told {
		o.told = false
		o.tell("telemetry reaches " + o.host + " again")
	}
}

// run sends until ctx ends, and then what is left, for as long as lastWords.
func (f *forwarder) run(ctx context.Context) {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	f.mu.Lock()
	f.ctx, f.sending = ctx, sending
	for _, o := range f.outlets {
		f.start(o)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	f.ctx = nil // none begins any more
	f.mu.Unlock()
	defer time.AfterFunc(lastWords, cancel).Stop()
	f.running.Wait()
}

// start is called with mu held, once of each outlet while it runs.
func (f *forwarder) start(o *outlet) {
	if ctx, sending := f.ctx, f.sending; ctx != nil {
		f.running.Go(func() { o.run(ctx, sending) })
	}
}

func (o *outlet) run(ctx, sending context.Context) {
	defer func() {
		if o.conn != nil {
			_ = o.conn.Close()
		}
		o.http.CloseIdleConnections()
	}()
	var tick <-chan time.Time
	if o.to.Every > 0 {
		t := time.NewTicker(thinningQuantum)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			o.finish(sending)
			return
		case now := <-tick:
			o.release(now)
		case one := <-o.waiting:
			o.deliver(sending, one)
		}
	}
}

// finish sends all that is left.
func (o *outlet) finish(sending context.Context) {
	o.release(time.Now().Add(o.to.Every))
	for {
		select {
		case one := <-o.waiting:
			o.deliver(sending, one)
		default:
			return
		}
	}
}

func (o *outlet) deliver(ctx context.Context, one forwarded) {
	err := o.send(ctx, one)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.grow(-len(one.body))
	switch {
	case ctx.Err() != nil:
		o.lose("the system has ended before all was sent")
	case err != nil:
		o.lose(reason(err))
	default:
		o.works()
	}
}

// reason is an error without the URL, in which there may be a secret.
func reason(err error) string {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	return err.Error()
}

func (o *outlet) send(ctx context.Context, one forwarded) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.to.Timeout, forwardTimeout))
	defer cancel()
	if o.to.GRPC {
		return o.sendGRPC(ctx, one)
	}
	body := one.body
	if o.to.Gzip {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(body) // a buffer takes everything
		_ = z.Close()
		body = packed.Bytes()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.to.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = one.header
	req.Header.Set("Content-Type", "application/x-protobuf")
	if o.to.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := o.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

func (o *outlet) sendGRPC(ctx context.Context, one forwarded) error {
	if o.conn == nil {
		creds := insecure.NewCredentials()
		if strings.HasPrefix(o.to.URL, "https:") {
			creds = credentials.NewTLS(o.tls.Clone())
		}
		conn, err := grpc.NewClient(o.host, grpc.WithTransportCredentials(creds))
		if err != nil {
			return err
		}
		o.conn = conn
	}
	md := metadata.MD{}
	for name, values := range one.header {
		if name = strings.ToLower(name); name != "user-agent" {
			md[name] = values
		}
	}
	opts := []grpc.CallOption{grpc.ForceCodec(rawCodec{})}
	if o.to.Gzip {
		opts = append(opts, grpc.UseCompressor(packer.Name))
	}
	var answer raw
	return o.conn.Invoke(metadata.NewOutgoingContext(ctx, md), one.signal.rpc, raw(one.body), &answer, opts...)
}

// raw is a message that is in bytes already.
type raw []byte

type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return v.(raw), nil } //nolint:forcetypeassert // what is sent with it is
func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*raw) = b //nolint:forcetypeassert // as above
	return nil
}
