package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/holdfast-go/holdfast/platform/embed"
)

const natsRole = "broker-nats"

// natsSpec is what a member is to be.
type natsSpec struct {
	Name, Dir string
	// Addr is for clients, Peer for the other members, and Cluster where all of them are, nil if there is just one.
	Addr, Peer string
	Cluster    map[string]string
	NoSync     bool
}

func (b *Broker) startNATS(ctx context.Context, dir string, members int, cfg Config) error {
	specs, addrs, peers := make([]natsSpec, members), make([]string, members), map[string]string{}
	for i := range specs {
		s := natsSpec{NoSync: cfg.NoSync, Name: fmt.Sprint("member-", i+1), Dir: filepath.Join(dir, fmt.Sprint("member-", i+1))}
		var err error
		if s.Addr, err = freeAddr(); err != nil {
			return err
		}
		if s.Peer, err = freeAddr(); err != nil {
			return err
		}
		if addrs[i], err = b.proxy(s.Addr, cfg.Proxies); err != nil {
			return err
		}
		specs[i], peers[s.Name] = s, s.Peer
	}
	b.at("nats", addrs)
	// Members of a cluster are ready together.
	started, failed := make([]*Process, members), make(chan error, members)
	for i := range specs {
		if members > 1 {
			specs[i].Cluster = peers
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

// runNATS is a member as `holdfast up` has it.
func runNATS(ctx context.Context, spec natsSpec) error {
	n := embed.NewNATS(embed.NATSConfig{
		Name: spec.Name, DataDir: spec.Dir, ClientAddr: spec.Addr, PeerAddr: spec.Peer, Cluster: spec.Cluster, NoSync: spec.NoSync,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	go func() {
		<-n.Ready()
		Say()
	}()
	return n.Run(ctx) //nolint:wrapcheck // says it all
}
