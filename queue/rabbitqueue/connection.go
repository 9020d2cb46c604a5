package rabbitqueue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// dialTimeout is of each endpoint, the handshakes included. A broker that does not like the password takes 3 s to close
	// the connection.
	dialTimeout  = 5 * time.Second
	closeTimeout = 2 * time.Second
	channelMax   = 2047 // RabbitMQ's default
)

// connection is one connection to the broker.
type connection struct {
	amqp *amqp.Connection
	raw  net.Conn
	name string
	done chan struct{} // closed when it has ended

	// blocked is why the broker takes no messages now, nil if it does.
	blocked atomic.Pointer[string]

	mu  sync.Mutex
	err error // why it ended
}

func (c *connection) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// reason is why it ended.
func (c *connection) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return errors.New("connection closed")
	}
	return c.err
}

// watch follows what the client tells of it, until its end. It reads what the client would block on.
func (c *connection) watch(closes chan *amqp.Error, blocks chan amqp.Blocking) {
	for {
		select {
		case b, ok := <-blocks:
			switch {
			case !ok:
				blocks = nil
			case b.Active:
				c.blocked.Store(&b.Reason)
			default:
				c.blocked.Store(nil)
			}
		case e, ok := <-closes:
			if ok && e != nil {
				c.mu.Lock()
				c.err = explain(e)
				c.mu.Unlock()
			}
			c.raw.Close()
			close(c.done)
			return
		}
	}
}

// close says goodbye, and does not wait for long for the answer.
func (c *connection) close() {
	polite := make(chan struct{})
	go func() {
		defer close(polite)
		if c.amqp != nil {
			_ = c.amqp.Close() // it is over either way
		}
	}()
	t := time.NewTimer(closeTimeout)
	defer t.Stop()
	select {
	case <-polite:
	case <-t.C:
	}
	if c.raw != nil {
		c.raw.Close()
	}
	<-polite
	<-c.done
}

// dialer dials the endpoints of cfg, the next one first each time, so that a dead one is left.
type dialer struct {
	cfg  Config
	name string
	next atomic.Uint32
}

func (d *dialer) dial(ctx context.Context) (*connection, error) {
	var errs []error
	first := d.next.Add(1)
	for i := range d.cfg.Endpoints {
		e := d.cfg.Endpoints[(int(first)+i)%len(d.cfg.Endpoints)]
		c, err := d.open(ctx, e)
		if err == nil {
			return c, nil
		}
		errs = append(errs, fmt.Errorf("connect to %s: %w", e, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (d *dialer) open(ctx context.Context, endpoint string) (*connection, error) {
	password, err := d.cfg.password()
	if err != nil {
		return nil, err
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(parent, dialTimeout)
	defer cancel()
	dial := d.cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	plain, err := dial(ctx, "tcp", endpoint)
	if err != nil {
		return nil, err
	}
	conn := plain
	if d.cfg.TLS != nil {
		conn, err = withTLS(ctx, plain, endpoint, d.cfg.TLS)
		if err != nil {
			plain.Close()
			return nil, err
		}
	}
	w := newWire(conn)
	stop := context.AfterFunc(ctx, func() { w.fail(ctx.Err()) }) // the client's handshake knows no context
	a, err := amqp.Open(w, amqp.Config{
		SASL:      []amqp.Authentication{&amqp.PlainAuth{Username: d.cfg.Username, Password: password}},
		Vhost:     d.cfg.VHost,
		Heartbeat: d.cfg.Heartbeat, ChannelMax: channelMax,
		FrameSize: 128 << 10, Locale: "en_US",
		Properties: amqp.Table{"product": "Holdfast", "connection_name": d.name},
	})
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = w.Close() // returns nil
		switch {
		case parent.Err() != nil:
			return nil, parent.Err()
		case ctx.Err() != nil: // which is not a context of who asks
			return nil, fmt.Errorf("no answer within %v", dialTimeout)
		}
		return nil, explain(err)
	}
	c := &connection{amqp: a, raw: w, name: d.name, done: make(chan struct{})}
	closes := a.NotifyClose(make(chan *amqp.Error, 1))
	blocks := a.NotifyBlocked(make(chan amqp.Blocking, 8))
	go c.watch(closes, blocks)
	return c, nil
}

func withTLS(ctx context.Context, conn net.Conn, endpoint string, cfg *tls.Config) (net.Conn, error) {
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(endpoint)
		if err != nil {
			return nil, err
		}
		cfg.ServerName = host
	}
	t := tls.Client(conn, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return t, nil
}
