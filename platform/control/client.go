package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const (
	// callTimeout bounds calls that are answered from memory or after a signal has been sent.
	callTimeout = 10 * time.Second
	maxAnswer   = 32 << 20 // bytes; a trace has thousands of spans at most
	maxLine     = 1 << 20  // bytes of one line in a stream
)

// ErrNotRunning is matched by errors of a Client that found nobody listening at its address.
var ErrNotRunning = errors.New("no system is running")

// ErrGone is matched by the error of a stream that broke off: the system ended without a goodbye, as by kill -9.
var ErrGone = errors.New("the system is gone")

// ErrNotControl is matched by errors of a Client whose address is taken by another program.
var ErrNotControl = errors.New("not a Holdfast control API")

// Client calls the API of a running system. Errors that the API answered carry its code and message (package
// failure). Safe for concurrent use.
//
// What changes something needs a token, as everything does beyond this machine. A client finds it by itself: in HOLDFAST_TOKEN, or else where
// the system at its address has left it for clients of the same user at this machine.
type Client struct {
	addr string // host:port
	http *http.Client
	keys credentials
}

// NewClient returns a client for the API at addr (host:port, or https://host:port for one beyond this machine), without calling it.
func NewClient(addr string) *Client {
	c := &Client{}
	addr, c.keys.tls = strings.CutPrefix(strings.TrimSuffix(addr, "/"), "https://")
	c.addr = addr
	c.http = &http.Client{Transport: &http.Transport{
		// No Proxy: it would be asked for loopback addresses by some environments.
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		DialTLSContext:      c.dialTLS,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     30 * time.Second,
	}}
	// A redirect would take the token elsewhere; the API has none.
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// Addr is the address that the client calls.
func (c *Client) Addr() string { return c.addr }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// System describes the running system.
func (c *Client) System(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var info Info
	err := c.call(ctx, http.MethodGet, "/v1/system", nil, &info)
	return info, err
}

// Instances lists the running instances, the control members first.
func (c *Client) Instances(ctx context.Context) ([]Instance, error) { return c.InstancesOf(ctx, "") }

// InstancesOf lists the instances of a service, or the one instance that is named.
func (c *Client) InstancesOf(ctx context.Context, target string) ([]Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	path := "/v1/instances"
	if target != "" {
		path += "?service=" + url.QueryEscape(target)
	}
	var answer instancesAnswer
	err := c.call(ctx, http.MethodGet, path, nil, &answer)
	return answer.Instances, err
}

// Kill ends the target with SIGKILL, as a crash would, and returns the instances that were hit. The target is an
// instance or a service; a service of several instances is an error (ReasonAmbiguous) unless all is set.
func (c *Client) Kill(ctx context.Context, target string, all bool) ([]string, error) {
	return c.command(ctx, "/v1/kill", targetRequest{target, all})
}

// Freeze stops the target's processes (SIGSTOP); targets as for Kill.
func (c *Client) Freeze(ctx context.Context, target string, all bool) ([]string, error) {
	return c.command(ctx, "/v1/freeze", targetRequest{target, all})
}

// Thaw lets the target's frozen processes go on and returns the instances that were frozen. A service is thawed whole.
func (c *Client) Thaw(ctx context.Context, target string) ([]string, error) {
	return c.command(ctx, "/v1/thaw", targetRequest{Target: target})
}

// Restart restarts the target's instances one after another, each time waiting until it is ready, while another one stands
// in, and returns those that were restarted. It takes as long as that takes. When ctx ends, no further one is begun.
func (c *Client) Restart(ctx context.Context, target string) ([]string, error) {
	var answer idsAnswer
	err := c.call(ctx, http.MethodPost, "/v1/restart", targetRequest{Target: target}, &answer)
	return answer.Instances, err
}

// Scale sets the number of instances of a service and returns when it is reached.
func (c *Client) Scale(ctx context.Context, service string, replicas int) error {
	return c.call(ctx, http.MethodPost, "/v1/scale", scaleRequest{Service: service, Replicas: &replicas}, &scaleAnswer{})
}

// Autoscale gives a service that was scaled by hand back to being scaled by its load, and returns how many instances it has
// now. A service that the system file does not say so of is a failure.FailedPrecondition.
func (c *Client) Autoscale(ctx context.Context, service string) (replicas int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var answer scaleAnswer
	err = c.call(ctx, http.MethodPost, "/v1/scale", scaleRequest{Service: service, Auto: true}, &answer)
	return answer.Replicas, err
}

// Inject begins a fault and returns it when it is in force; see [Breaker]. It has to be renewed before its lease runs out.
func (c *Client) Inject(ctx context.Context, req FaultRequest) (Fault, error) {
	return c.fault(ctx, http.MethodPost, "/v1/faults", req)
}

// Renew lets the lease of a fault run from now. One that is no longer in force is a failure.NotFound.
func (c *Client) Renew(ctx context.Context, id string) (Fault, error) {
	return c.fault(ctx, http.MethodPut, "/v1/faults/"+url.PathEscape(id), struct{}{})
}

// Mend ends a fault. One that is no longer in force is a failure.NotFound.
func (c *Client) Mend(ctx context.Context, id string) error {
	_, err := c.fault(ctx, http.MethodDelete, "/v1/faults/"+url.PathEscape(id), nil)
	return err
}

// Faults lists what is in force, oldest first.
func (c *Client) Faults(ctx context.Context) ([]Fault, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var answer faultsAnswer
	err := c.call(ctx, http.MethodGet, "/v1/faults", nil, &answer)
	return answer.Faults, err
}

// Wipe stops a control member, or all of them at once ("control"), deletes what they keep, starts them again, and returns
// when they are ready. It takes as long as that takes.
func (c *Client) Wipe(ctx context.Context, target string) ([]string, error) {
	var answer idsAnswer
	err := c.call(ctx, http.MethodPost, "/v1/wipe", targetRequest{Target: target}, &answer)
	return answer.Instances, err
}

// Stats is what the processes of the system last said of themselves.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var stats Stats
	err := c.call(ctx, http.MethodGet, "/v1/stats", nil, &stats)
	return stats, err
}

func (c *Client) fault(ctx context.Context, method, path string, in any) (Fault, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var fault Fault
	err := c.call(ctx, method, path, in, &fault)
	return fault, err
}

// Down asks the system to stop and returns as soon as it has begun to. To wait for the end, follow Events: they end
// when the system is gone.
func (c *Client) Down(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.call(ctx, http.MethodPost, "/v1/down", struct{}{}, &struct{}{})
}

// Logs hands log lines to emit until there are no more or, with q.Follow, until ctx ends (its error is returned) or the
// system has stopped (nil) or broke off (ErrGone), or the client's token is void (failure.Unauthenticated). An error of emit ends
// it and is returned.
func (c *Client) Logs(ctx context.Context, q LogQuery, emit func(LogLine) error) error {
	return follow(ctx, c, "/v1/logs?"+logQueryValues(q).Encode(), nil, emit)
}

// Events hands events to emit until ctx ends (its error is returned), or the system has stopped (nil) or broke off
// (ErrGone), or the client's token is void (failure.Unauthenticated). If connected is not nil, it is called once before the first event, when nothing that happens from then on will be missed.
func (c *Client) Events(ctx context.Context, connected func(), emit func(Event) error) error {
	return follow(ctx, c, "/v1/events", connected, emit)
}

// EventsOf is Events with at most q.Last kept events before those that happen from now on, without a gap and none twice; without
// q.Follow it ends after the kept ones.
func (c *Client) EventsOf(ctx context.Context, q EventQuery, connected func(), emit func(Event) error) error {
	return follow(ctx, c, "/v1/events?"+eventQueryValues(q).Encode(), connected, emit)
}

func (c *Client) command(ctx context.Context, path string, req targetRequest) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var answer idsAnswer
	err := c.call(ctx, http.MethodPost, path, req, &answer)
	return answer.Instances, err
}

// call sends one request and decodes its answer into out.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// do sends a request and returns the answer if it is a good one of a control API. When the token is refused, there may be another
// system at the address by now, which has another token.
func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	with := c.keys.get(c.addr)
	resp, err := c.send(ctx, method, path, in, with)
	if failure.CodeOf(err) == failure.Unauthenticated {
		if now, changed := c.keys.renew(c.addr, with); changed {
			return c.send(ctx, method, path, in, now)
		}
	}
	return resp, err
}

func (c *Client) send(ctx context.Context, method, path string, in any, with tokenFile) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	scheme := "http://"
	if c.keys.tls || with.Pin != nil {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+c.addr+path, body)
	if err != nil {
		return nil, fmt.Errorf("control address %q: %w", c.addr, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if with.Token != "" {
		if host := hostOf(c.addr); scheme == "http://" && host != "" && !isLoopback(host) {
			return nil, failure.New(failure.InvalidArgument, "the token does not leave this machine in plaintext: name the system https://%s", c.addr)
		}
		req.Header.Set("Authorization", "Bearer "+with.Token)
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w at %s", ErrNotRunning, c.addr)
	case err != nil && ctx.Err() == context.DeadlineExceeded:
		return nil, failure.Wrap(err, failure.DeadlineExceeded, "the system at %s did not answer in time", c.addr)
	case err != nil && strings.Contains(err.Error(), "malformed HTTP"): // net/http has no other name for it
		return nil, fmt.Errorf("%s: %w", c.addr, ErrNotControl)
	case err != nil:
		return nil, fmt.Errorf("control API at %s: %w", c.addr, errors.Unwrap(err)) // *url.Error repeats the URL
	case resp.StatusCode == http.StatusBadRequest && scheme == "http://" && resp.Header.Get("Server") == "":
		resp.Body.Close() // what net/http answers who speaks plaintext to TLS
		return nil, fmt.Errorf("%s: %w; if it speaks TLS, name it https://%s", c.addr, ErrNotControl, c.addr)
	case resp.Header.Get("Server") != serverName:
		resp.Body.Close()
		return nil, fmt.Errorf("%s: %w", c.addr, ErrNotControl)
	case resp.StatusCode/100 != 2:
		defer resp.Body.Close()
		return nil, failure.ReadProblem(resp)
	}
	return resp, nil
}

// follow reads a stream of lines until its end.
func follow[T any](ctx context.Context, c *Client, path string, connected func(), emit func(T) error) error {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if connected != nil {
		connected()
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	lines.Split(wholeLines)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return fmt.Errorf("GET %s: %w", path, err)
		}
		if err := emit(v); err != nil {
			return err
		}
	}
	return c.streamEnd(ctx, path, lines.Err())
}

// wholeLines is a bufio.SplitFunc for lines. What is behind the last one is none: the stream was cut.
func wholeLines(data []byte, _ bool) (advance int, line []byte, err error) {
	end := bytes.IndexByte(data, '\n')
	if end < 0 {
		return 0, nil, nil
	}
	return end + 1, data[:end], nil
}

// streamEnd is what the end of a stream means.
func (c *Client) streamEnd(ctx context.Context, path string, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		// An orderly end of the system ends its streams. The end of a right breaks them, as a crash does; whoever answers
		// that it does not know the token is no system that is gone.
		if _, err := c.System(ctx); failure.CodeOf(err) == failure.Unauthenticated {
			return failure.Wrap(err, failure.Unauthenticated, "the token of this stream is void by now").WithReason(ReasonToken, Domain)
		}
		return ErrGone
	case err != nil:
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}
