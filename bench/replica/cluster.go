package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/holdfast-go/holdfast/bench/replica/kvbenchpb"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/ports"
)

// members is how many each engine has.
const members = 3

// timeout bounds an operation: callers have deadlines.
const timeout = 10 * time.Second

// conn is a client's connection to one member.
type conn interface {
	put(ctx context.Context, key, value string) error
	// putOnce is put with a name of its own for each call, so that it would happen once if it was repeated.
	putOnce(ctx context.Context, key, value string) error
	// get reads a key: linearizable, or what the member has.
	get(ctx context.Context, key string, stale bool) error
	leads(ctx context.Context) (bool, error)
	close()
}

// cluster is the members of one engine, and a connection to each.
type cluster struct {
	engine    string
	processes []*process
	conns     []conn
	ports     *ports.Reserved
}

// startCluster starts the members of an engine with data below dir, and returns when all serve and one leads.
func startCluster(ctx context.Context, engine, dir string, change func(*Spec)) (c *cluster, err error) {
	c = &cluster{engine: engine, processes: make([]*process, members)}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.ports, err = ports.Reserve(2 * members); err != nil {
		return nil, err
	}
	specs := make([]Spec, members)
	peers := map[string]string{}
	for i := range specs {
		name := fmt.Sprintf("%s-%d", engine, i+1)
		specs[i] = Spec{Engine: engine, Name: name, Dir: filepath.Join(dir, name), Addr: c.ports.Addr(i), Members: members, Peers: peers}
		peers[name] = c.ports.Addr(members + i)
	}
	var wg sync.WaitGroup
	errs := make([]error, members)
	for i := range specs {
		if change != nil {
			change(&specs[i])
		}
		wg.Go(func() { c.processes[i], errs[i] = startProcess(ctx, specs[i]) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, spec := range specs {
		conn, err := dial(spec)
		if err != nil {
			return nil, err
		}
		c.conns = append(c.conns, conn)
	}
	return c, c.awaitAll(ctx)
}

func dial(spec Spec) (conn, error) {
	if spec.Engine == etcd {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{spec.Addr}, DialTimeout: timeout, Logger: zap.NewNop()})
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", spec.Name, err)
		}
		return &etcdConn{client: client, addr: spec.Addr}, nil
	}
	back := backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 200 * time.Millisecond} // it may be killed
	c, err := grpc.NewClient(spec.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{Backoff: back, MinConnectTimeout: time.Second}))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", spec.Name, err)
	}
	return &grpcConn{conn: c, client: kvbenchpb.NewMapClient(c), admin: kvbenchpb.NewAdminClient(c), engine: spec.Engine}, nil
}

// awaitAll waits until every member has answered a write and a read.
func (c *cluster) awaitAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for i, conn := range c.conns {
		for {
			err := conn.put(ctx, "first", "")
			if err == nil {
				err = conn.get(ctx, "first", false)
			}
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				said := c.processes[i].said.String()
				return fmt.Errorf("%s does not answer: %w; it said: %s", c.processes[i].spec.Name, err, said)
			}
			pause(ctx, 50*time.Millisecond)
		}
	}
	return nil
}

// leader returns which member leads. A bare one leads nothing: it is the first.
func (c *cluster) leader(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for ctx.Err() == nil {
		for i, conn := range c.conns {
			ask, cancel := context.WithTimeout(ctx, time.Second)
			leads, err := conn.leads(ask)
			cancel()
			if err == nil && leads {
				return i, nil
			}
		}
		pause(ctx, 20*time.Millisecond)
	}
	return 0, fmt.Errorf("%s has no leader: %w", c.engine, context.Cause(ctx))
}

// member returns the connection to a member of Holdfast.
func (c *cluster) member(i int) *grpcConn {
	m, _ := c.conns[i].(*grpcConn)
	return m
}

func (c *cluster) close() {
	for _, conn := range c.conns {
		conn.close()
	}
	for _, p := range c.processes {
		if p != nil {
			p.close()
		}
	}
	c.ports.Release()
}

// terminate ends all members as a deployment would, so that what they write at the end is written.
func (c *cluster) terminate() {
	var wg sync.WaitGroup
	for _, p := range c.processes {
		wg.Go(p.terminate)
	}
	wg.Wait()
}

// cpu returns the CPU time that all members have used.
func (c *cluster) cpu() (sum time.Duration) {
	for _, p := range c.processes {
		sum += cpuOf(p.pid())
	}
	return sum
}

// rss returns what the largest member has resident.
func (c *cluster) rss() (most int64) {
	for _, p := range c.processes {
		now, _ := rssOf(p.pid())
		most = max(most, now)
	}
	return most
}

// shed returns how often the members were too busy to begin with a call, since it was asked last.
func (c *cluster) shed() (n int64) {
	for _, conn := range c.conns {
		if g, ok := conn.(*grpcConn); ok {
			n += g.shed.Swap(0)
		}
	}
	return n
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// grpcConn is a connection to a member with the service of this program: Holdfast or bare.
type grpcConn struct {
	conn   *grpc.ClientConn
	client kvbenchpb.MapClient
	admin  kvbenchpb.AdminClient
	engine string
	names  atomic.Int64
	shed   atomic.Int64
}

func (c *grpcConn) put(ctx context.Context, key, value string) error {
	return c.send(ctx, &kvbenchpb.PutRequest{Key: key, Value: []byte(value)})
}

func (c *grpcConn) putOnce(ctx context.Context, key, value string) error {
	once := c.conn.Target() + "/" + strconv.FormatInt(c.names.Add(1), 10)
	return c.send(ctx, &kvbenchpb.PutRequest{Key: key, Value: []byte(value), Once: once})
}

func (c *grpcConn) send(ctx context.Context, req *kvbenchpb.PutRequest) error {
	return c.call(ctx, func(ctx context.Context) error {
		_, err := c.client.Put(ctx, req)
		return err //nolint:wrapcheck // what is measured
	})
}

// call makes a call, again when the server was too busy to begin with it: after as long as it asked for.
func (c *grpcConn) call(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		e := failure.From(err)
		if !e.Shed() || ctx.Err() != nil {
			return err
		}
		c.shed.Add(1)
		pause(ctx, max(e.RetryAfter, time.Millisecond))
	}
}

func (c *grpcConn) get(ctx context.Context, key string, stale bool) error {
	req := &kvbenchpb.GetRequest{Key: key}
	if stale {
		req.StaleMs = 1000
	}
	return c.call(ctx, func(ctx context.Context) error {
		_, err := c.client.Get(ctx, req)
		return err //nolint:wrapcheck // what is measured
	})
}

func (c *grpcConn) leads(ctx context.Context) (bool, error) {
	if c.engine == bare {
		return true, nil
	}
	s, err := c.admin.Status(ctx, &kvbenchpb.StatusRequest{})
	return s.GetLeads(), err //nolint:wrapcheck // is looked at only
}

func (c *grpcConn) close() { _ = c.conn.Close() }

type etcdConn struct {
	client *clientv3.Client
	addr   string
}

func (c *etcdConn) put(ctx context.Context, key, value string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := c.client.Put(ctx, key, value)
	return err //nolint:wrapcheck // what is measured
}

func (c *etcdConn) putOnce(context.Context, string, string) error { return errors.ErrUnsupported }

func (c *etcdConn) get(ctx context.Context, key string, stale bool) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var opts []clientv3.OpOption
	if stale {
		opts = append(opts, clientv3.WithSerializable())
	}
	_, err := c.client.Get(ctx, key, opts...)
	return err //nolint:wrapcheck // what is measured
}

func (c *etcdConn) leads(ctx context.Context) (bool, error) {
	s, err := c.client.Status(ctx, c.addr)
	if err != nil {
		return false, err //nolint:wrapcheck // is looked at only
	}
	return s.Leader == s.Header.GetMemberId(), nil
}

func (c *etcdConn) close() { _ = c.client.Close() }

func (c *grpcConn) transfer(ctx context.Context) error {
	_, err := c.admin.Transfer(ctx, &kvbenchpb.TransferRequest{})
	return err //nolint:wrapcheck // by the caller
}

func (c *grpcConn) status(ctx context.Context) (*kvbenchpb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return c.admin.Status(ctx, &kvbenchpb.StatusRequest{}) //nolint:wrapcheck // by the caller
}
