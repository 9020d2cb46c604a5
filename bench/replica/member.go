package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/bench/replica/kvbenchpb"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
	"github.com/holdfast-go/holdfast/rpc"
)

// The engines that are measured.
const (
	holdfast = "holdfast"
	etcd     = "etcd"
	bare     = "bare"
)

// child runs this process as a member and does not return, if it was started as one.
func child() {
	if len(os.Args) != 3 || os.Args[1] != childArg {
		return
	}
	err := runChild(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runChild(arg string) error {
	var spec Spec
	if err := json.Unmarshal([]byte(arg), &spec); err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	peers := newToldPeers(spec.Peers)
	go func() {
		peers.listen(os.Stdin)
		stop() // whoever started it is gone
	}()
	if spec.Profile != "" {
		f, err := os.Create(filepath.Join(spec.Profile, spec.Engine+"-"+spec.Name+".cpu"))
		if err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	switch spec.Engine {
	case holdfast:
		return runHoldfast(ctx, spec, peers)
	case etcd:
		return runEtcd(ctx, spec)
	case bare:
		return runBare(ctx, spec)
	}
	return fmt.Errorf("no engine %q", spec.Engine)
}

// say tells the parent that clients can come.
func say(addr string) {
	line, _ := json.Marshal(hello{Addr: addr}) // a string always can
	fmt.Println(string(line))
}

// runHoldfast is a service as a user would write it: a host, a store on it, and a server with all defaults in front.
func runHoldfast(ctx context.Context, spec Spec, peers replica.Peers) error {
	host, err := replica.NewHost(replica.Config{
		Name: spec.Name, Dir: spec.Dir, Peers: peers, Members: spec.Members,
		Addr: spec.Peers[spec.Name], Election: spec.Election, SnapshotRate: spec.SnapshotRate, Observer: observer{},
	})
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	store, err := kv.New(host, "bench", kv.Config{
		Group:    replica.GroupConfig{SnapshotEntries: spec.SnapshotEntries, SnapshotBytes: spec.SnapshotBytes},
		MaxBytes: 4 << 30,
	})
	if err != nil {
		return errors.Join(err, host.Close())
	}
	server, err := rpc.NewServer(rpc.ServerConfig{Addr: spec.Addr})
	if err != nil {
		return errors.Join(err, host.Close())
	}
	s := &holdfastServer{store: store}
	kvbenchpb.RegisterMapServer(server, s)
	kvbenchpb.RegisterAdminServer(server, s)
	told := lifecycle.Func(func(ctx context.Context) error {
		say(spec.Addr)
		<-ctx.Done()
		return nil
	})
	run := lifecycle.Config{DrainDelay: -1, Logger: slog.New(slog.DiscardHandler)}
	return run.Run(ctx, host, store, server, told) //nolint:wrapcheck // says it all
}

// observer says what is slow or large, as a service's metrics would.
type observer struct{}

// Proposed implements replica.Observer.
func (observer) Proposed(string, time.Duration, error) {}

// Read implements replica.Observer.
func (observer) Read(string, replica.Level, time.Duration, error) {}

// Led implements replica.Observer.
func (observer) Led(string, string, uint64) {}

// Synced implements replica.Observer.
func (observer) Synced(bytes, _ int, took time.Duration) {
	if took > longPause {
		slog.Info("slow write to the log", "bytes", bytes, "took", took)
	}
}

// Snapshotted implements replica.Observer.
func (observer) Snapshotted(_, peer string, bytes int64, took time.Duration, err error) {
	slog.Info("snapshot", "peer", peer, "bytes", bytes, "took", took, "error", err)
}

type holdfastServer struct {
	kvbenchpb.UnimplementedMapServer
	kvbenchpb.UnimplementedAdminServer
	store *kv.Store
}

// Put implements kvbenchpb.MapServer.
func (s *holdfastServer) Put(ctx context.Context, req *kvbenchpb.PutRequest) (*kvbenchpb.PutResponse, error) {
	var revision uint64
	var err error
	if once := req.GetOnce(); once != "" {
		revision, err = s.store.Put(ctx, req.GetKey(), req.GetValue(), kv.Once(once))
	} else {
		revision, err = s.store.Put(ctx, req.GetKey(), req.GetValue())
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // for the caller
	}
	return &kvbenchpb.PutResponse{Revision: revision}, nil
}

// Get implements kvbenchpb.MapServer.
func (s *holdfastServer) Get(ctx context.Context, req *kvbenchpb.GetRequest) (*kvbenchpb.GetResponse, error) {
	level := replica.Stale(time.Duration(req.GetStaleMs()) * time.Millisecond)
	item, _, err := s.store.Get(ctx, level, req.GetKey())
	if err != nil {
		return nil, err //nolint:wrapcheck // for the caller
	}
	return &kvbenchpb.GetResponse{Value: item.Value, Version: item.Version}, nil
}

// Status implements kvbenchpb.AdminServer.
func (s *holdfastServer) Status(context.Context, *kvbenchpb.StatusRequest) (*kvbenchpb.StatusResponse, error) {
	out := &kvbenchpb.StatusResponse{Keys: uint64(s.store.Stats().Keys)} //nolint:gosec // not negative
	status := s.store.Group().Status()
	_, out.Leads = s.store.Group().Leader()
	select {
	case <-s.store.Group().Ready():
		out.Ready = true
	default:
	}
	out.Applied, out.Snapshots = status.Applied, status.Snapshots
	out.Text = fmt.Sprintf("%+v", status)
	return out, nil
}

// Transfer implements kvbenchpb.AdminServer.
func (s *holdfastServer) Transfer(ctx context.Context, _ *kvbenchpb.TransferRequest) (*kvbenchpb.TransferResponse, error) {
	if err := s.store.Group().Transfer(ctx, ""); err != nil {
		return nil, err //nolint:wrapcheck // for the caller
	}
	return &kvbenchpb.TransferResponse{}, nil
}

// runEtcd is a member of etcd, with its defaults but for the addresses and the election.
func runEtcd(ctx context.Context, spec Spec) error {
	c := embed.NewConfig()
	c.Name, c.Dir = spec.Name, spec.Dir
	client, peer := []url.URL{{Scheme: "http", Host: spec.Addr}}, []url.URL{{Scheme: "http", Host: spec.Peers[spec.Name]}}
	c.ListenClientUrls, c.AdvertiseClientUrls = client, client
	c.ListenPeerUrls, c.AdvertisePeerUrls = peer, peer
	var initial []string
	for name, addr := range spec.Peers {
		initial = append(initial, name+"=http://"+addr)
	}
	slices.Sort(initial)
	c.InitialCluster = strings.Join(initial, ",")
	c.PreVote = true
	c.SocketOpts.ReuseAddress = true
	c.LogLevel = "error"
	if spec.Election > 0 {
		c.ElectionMs = uint(spec.Election.Milliseconds()) //nolint:gosec // not negative
		c.TickMs = c.ElectionMs / 10
	}
	server, err := embed.StartEtcd(c)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
	case <-ctx.Done():
		return nil
	case err := <-server.Err():
		return fmt.Errorf("etcd: %w", err)
	}
	say(spec.Addr)
	select {
	case <-ctx.Done():
		return nil
	case err := <-server.Err():
		return fmt.Errorf("etcd: %w", err)
	}
}

// runBare is a map behind grpc-go: what one hop costs.
func runBare(ctx context.Context, spec Spec) error {
	lis, err := net.Listen("tcp", spec.Addr)
	if err != nil {
		return fmt.Errorf("bare: %w", err)
	}
	server := grpc.NewServer()
	kvbenchpb.RegisterMapServer(server, &bareServer{values: map[string][]byte{}})
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	say(spec.Addr)
	if err := server.Serve(lis); !errors.Is(err, grpc.ErrServerStopped) { // told to stop before it had begun
		return err //nolint:wrapcheck // says it all
	}
	return nil
}

type bareServer struct {
	kvbenchpb.UnimplementedMapServer
	mu     sync.RWMutex
	values map[string][]byte
}

// Put implements kvbenchpb.MapServer.
func (s *bareServer) Put(_ context.Context, req *kvbenchpb.PutRequest) (*kvbenchpb.PutResponse, error) {
	s.mu.Lock()
	s.values[req.GetKey()] = req.GetValue()
	s.mu.Unlock()
	return &kvbenchpb.PutResponse{Revision: 1}, nil
}

// Get implements kvbenchpb.MapServer.
func (s *bareServer) Get(_ context.Context, req *kvbenchpb.GetRequest) (*kvbenchpb.GetResponse, error) {
	s.mu.RLock()
	value := s.values[req.GetKey()]
	s.mu.RUnlock()
	return &kvbenchpb.GetResponse{Value: value}, nil
}
