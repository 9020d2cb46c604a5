package load

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Caller makes calls to a target. Close it after the last one. Safe for concurrent use.
type Caller struct {
	target Target
	run    string
	http   *http.Client
	close  func()

	mu       sync.Mutex
	services map[string]*service // by name
}

// service is one that is called over gRPC.
type service struct {
	mu    sync.Mutex
	conn  grpc.ClientConnInterface
	types *types
}

// NewCaller returns a caller. It dials nothing yet.
func NewCaller(target Target) *Caller {
	c := &Caller{target: target, run: newRun(), close: func() {}, services: make(map[string]*service)}
	through := target.HTTP
	if through == nil {
		own := newTransport((&net.Dialer{Timeout: 5 * time.Second}).DialContext)
		through, c.close = own, own.next.CloseIdleConnections
	}
	c.http = &http.Client{
		Transport:     through,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Run returns what {{run}} is.
func (c *Caller) Run() string { return c.run }

// Close closes the connections that the caller has opened and that are idle; those of Target.GRPC are not its own.
func (c *Caller) Close() { c.close() }

// protocol gives a call what sends it.
func (c *Caller) protocol(ctx context.Context, p *Prepared) error {
	switch {
	case p.call.GRPC != "" && p.call.Path != "":
		return invalid("it has a path and is gRPC")
	case p.call.GRPC != "":
		return c.grpc(ctx, p)
	case strings.HasPrefix(p.call.Path, "/"):
		base, err := c.edge(p.call.Edge)
		if err != nil {
			return err
		}
		p.send = &httpSender{c.http, p.method(), strings.TrimSuffix(base, "/")}
		return nil
	case strings.HasPrefix(p.call.Path, "http://"), strings.HasPrefix(p.call.Path, "https://"):
		p.send = &httpSender{c.http, p.method(), ""}
		return nil
	default:
		return invalid("path %q: it begins with / or http://", cut(p.call.Path, 80))
	}
}

func (c *Caller) edge(name string) (string, error) {
	if base, ok := c.target.Edges[name]; ok {
		return base, nil
	}
	if name != "" {
		return "", invalid("%s has no public address: it needs http: ADDR in the system file", name)
	}
	if len(c.target.Edges) != 1 {
		return "", invalid("the system has %d services with a public address: edge says which", len(c.target.Edges))
	}
	for _, base := range c.target.Edges {
		return base, nil
	}
	return "", nil
}
