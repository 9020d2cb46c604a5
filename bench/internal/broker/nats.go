package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const natsRole = "broker-nats"

// natsSpec is what a member is to be.
type natsSpec struct {
	Name, Dir string
	// Addr is for clients, Advertise what clients are told of it, Peer for the other members, which are at Peers.
	Addr, Advertise, Peer string
	Peers                 []string
}

func (b *Broker) startNATS(ctx context.Context, dir string, members int, proxies bool) error {
	specs, addrs, peers := make([]natsSpec, members), make([]string, members), make([]string, members)
	for i := range specs {
		s := natsSpec{Name: fmt.Sprint("member-", i+1), Dir: filepath.Join(dir, fmt.Sprint("member-", i+1))}
		var err error
		if s.Addr, err = freeAddr(); err != nil {
			return err
		}
		if s.Peer, err = freeAddr(); err != nil {
			return err
		}
		if addrs[i], err = b.proxy(s.Addr, proxies); err != nil {
			return err
		}
		s.Advertise = addrs[i]
		specs[i], peers[i] = s, s.Peer
	}
	b.at("nats", addrs)
	// Members of a cluster are ready together.
	started, failed := make([]*Process, members), make(chan error, members)
	for i := range specs {
		if members > 1 {
			specs[i].Peers = peers
		}
		go func() {
			var err error
			started[i], err = StartProcess(ctx, natsRole, specs[i])
			failed <- err
		}()
	}
	var errs []error
	for range specs {
		errs = append(errs, <-failed)
	}
	for _, p := range started {
		if p != nil {
			b.Servers = append(b.Servers, p)
			b.closers = append(b.closers, p.Kill)
		}
	}
	return errors.Join(errs...)
}

// natsChild runs a member if this process is one.
func natsChild() (bool, error) {
	var spec natsSpec
	mine, err := Role(natsRole, &spec)
	if !mine || err != nil {
		return mine, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return true, runNATS(ctx, spec)
}

func runNATS(ctx context.Context, spec natsSpec) error {
	host, port, err := split(spec.Addr)
	if err != nil {
		return err
	}
	o := &server.Options{
		ServerName: spec.Name, Host: host, Port: port, ClientAdvertise: spec.Advertise,
		JetStream: true, StoreDir: spec.Dir, SyncAlways: true, NoSigs: true, NoLog: os.Getenv("BROKER_LOG") == "",
	}
	if len(spec.Peers) > 0 {
		peerHost, peerPort, err := split(spec.Peer)
		if err != nil {
			return err
		}
		o.Cluster = server.ClusterOpts{Name: "bench", Host: peerHost, Port: peerPort, NoAdvertise: true}
		for _, p := range spec.Peers {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: p})
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	s.ConfigureLogger()
	go s.Start()
	defer func() {
		s.Shutdown()
		s.WaitForShutdown()
	}()
	if !s.ReadyForConnections(startTimeout) {
		return errors.New("nats: it takes no connections")
	}
	for len(spec.Peers) > 0 && !s.JetStreamIsCurrent() && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	Say()
	<-ctx.Done()
	return nil
}

func split(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", addr, err)
	}
	return host, port, nil
}
