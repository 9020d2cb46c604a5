//go:build unix

package supervise

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const (
	protoGRPC = "grpc"
	protoHTTP = "http"

	// probeFirst and probeLast are the first and the longest pause between two probes.
	probeFirst = 10 * time.Millisecond
	probeLast  = 250 * time.Millisecond
	// probeTimeout bounds one probe. A frozen process accepts connections, too, and then says nothing.
	probeTimeout = time.Second
	// quiet is how long a process that listens nowhere has to live to be ready: it may be a service without interfaces.
	// That is not believed of a service that is said to have some, nor once an instance of it was seen to listen.
	quiet = 2 * time.Second
	// foreign is how long a port may accept connections but speak neither plaintext gRPC nor HTTP until that is taken
	// for ready: it may be TLS, or a protocol of its own.
	foreign = 5 * time.Second
	// late is how long a process that was ready without a port is asked whether it has begun to listen after all.
	late = time.Minute
	// patience is how long a process has to become ready until people are told why it is not, and how long each reason stands
	// until they are told another one.
	patience = 5 * time.Second
	// maxWhy bounds such a reason, in bytes.
	maxWhy = 200
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 64 << 10
)

var (
	// errNotListening means that no port accepts connections, or not each of those that have to.
	errNotListening = errors.New("nothing listens")
	// errSilent means that a port accepts connections and then says nothing.
	errSilent = errors.New("accepts connections and says nothing")
	// errForeign means that something answered that the probe does not understand.
	errForeign = errors.New("no plaintext gRPC or HTTP")
)

// Probe reports whether an instance is ready to serve: nil means yes, an error is tried again soon. It has to return
// when ctx ends, after a second. The map is addresses by protocol ("grpc", "http").
type Probe func(ctx context.Context, addrs map[string]string) error

// probeHealth is the probe for any service: each port that accepts connections has to answer well, gRPC's by the health
// service, HTTP's at /healthz. A server without those is ready when it answers at all. A service may listen on only
// some of its ports, but on those of the protocols in serves it has to.
func probeHealth(ctx context.Context, addrs map[string]string, serves []string) (map[string]string, error) {
	served := make(map[string]string, len(addrs))
	var missing, needed []string
	for _, protocol := range slices.Sorted(maps.Keys(addrs)) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addrs[protocol])
		if err == nil {
			conn.Close()
			served[protocol] = addrs[protocol]
			continue
		}
		missing = append(missing, fmt.Sprintf("%s (%s)", addrs[protocol], addrVariable(protocol)))
		if slices.Contains(serves, protocol) {
			needed = append(needed, missing[len(missing)-1])
		}
	}
	switch {
	case len(needed) > 0:
		return nil, fmt.Errorf("%w at %s", errNotListening, strings.Join(needed, " and "))
	case len(served) == 0:
		return nil, fmt.Errorf("%w at %s", errNotListening, strings.Join(missing, " or "))
	}
	for _, protocol := range slices.Sorted(maps.Keys(served)) {
		var err error
		addr := served[protocol]
		switch protocol {
		case protoGRPC:
			err = healthGRPC(ctx, addr)
		case protoHTTP:
			err = healthHTTP(ctx, addr)
		}
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", errSilent, err)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", protocol, addr, err)
		}
	}
	return served, nil
}

func healthGRPC(ctx context.Context, addr string) error {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	switch status.Code(err) {
	case codes.OK:
		if answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			return errors.New("health is " + answer.GetStatus().String())
		}
		return nil
	case codes.DeadlineExceeded, codes.Canceled:
		return err
	case codes.Unavailable:
		return fmt.Errorf("%w: %w", errForeign, err)
	default: // such as UNIMPLEMENTED: a gRPC server without a health service
		return nil
	}
}

// healthHTTP speaks by hand: net/http's client logs what it does not understand.
func healthHTTP(ctx context.Context, addr string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", http.NoBody)
	if err != nil {
		return err
	}
	req.Close = true
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err = req.Write(conn); err == nil {
		var resp *http.Response
		if resp, err = http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxAnswer)), req); err == nil {
			return healthStatus(resp)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", errForeign, err)
}

func healthStatus(resp *http.Response) error {
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError {
		return errors.New("/healthz answers " + resp.Status)
	}
	return nil
}

// prober finds out whether one process is ready.
type prober struct {
	probe Probe // nil: health, with patience for what it does not understand
	// health is probeHealth.
	health func(ctx context.Context, addrs map[string]string, serves []string) (served map[string]string, err error)
	addrs  map[string]string
	serves []string // the protocols that it is said to serve; none: it may be one without interfaces
	// listens says whether other instances of the service were seen to listen.
	listens func() bool
	// ready is told once; later again if it turns out that more is served.
	ready func(served map[string]string)
	// unready is told why it is not ready yet, once it has had its time: once for each reason, and not too often.
	unready func(why string)
}

// run probes until the process is ready or ctx ends.
func (p *prober) run(ctx context.Context) {
	begun := time.Now()
	var firstForeign time.Time
	var told string
	tellAt := begun.Add(patience)
	isReady := false
	for pause := probeFirst; ; pause = min(2*pause, probeLast) {
		served, err := p.once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			p.settle(ctx, served)
			return
		case p.probe != nil:
		case errors.Is(err, errNotListening):
			since := time.Since(begun)
			if isReady && since >= late {
				return
			}
			if !isReady && since >= quiet && len(p.serves) == 0 && !p.listens() {
				isReady = true
				p.ready(nil)
			}
		case errors.Is(err, errForeign):
			if firstForeign.IsZero() {
				firstForeign = time.Now()
			}
			if time.Since(firstForeign) >= foreign {
				p.ready(p.addrs)
				return
			}
		}
		if why := words(err); !isReady && why != told && !time.Now().Before(tellAt) {
			told, tellAt = why, time.Now().Add(patience)
			p.unready(why)
		}
		if !pausing(ctx, pause) {
			return
		}
	}
}

// words is the error of a probe in a line for people. What differs from one try to the next is left out of it.
func words(err error) string {
	text := err.Error()
	for _, known := range []error{errSilent, errForeign} {
		if errors.Is(err, known) {
			before, _, _ := strings.Cut(text, known.Error())
			text = before + known.Error()
		}
	}
	text, _, _ = strings.Cut(text, "\n")
	return clean([]byte(text[:min(len(text), maxWhy)]))
}

// settle reports that the process is ready and looks once more whether it serves another port, because a service opens
// its ports one after another.
func (p *prober) settle(ctx context.Context, served map[string]string) {
	p.ready(served)
	if len(served) == len(p.addrs) || !pausing(ctx, probeLast) {
		return
	}
	if more, err := p.once(ctx); err == nil && len(more) > len(served) {
		p.ready(more)
	}
}

func (p *prober) once(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if p.probe != nil {
		return p.addrs, p.probe(ctx, p.addrs)
	}
	return p.health(ctx, p.addrs, p.serves)
}

// pausing waits for d; false means that ctx ended first.
func pausing(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
