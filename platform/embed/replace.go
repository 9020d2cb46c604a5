package embed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/holdfast-go/holdfast/internal/backoff"
)

// replaceTry bounds one request to the members that stay.
const replaceTry = 5 * time.Second

// Replace makes a cluster take an empty member in the place of one that is stopped, and deletes what that one has kept,
// if it is still there: it may have voted for, and acknowledged, what it would not know any more, so that it cannot come
// back as the one that it was. cfg is that of the member, clients are the client addresses of those that stay, which have to be
// a majority. The next Run joins, and gets everything from the others.
//
// etcd takes a new member only when all that stay have been connected for 5 s. Replace tries until ctx ends. If it
// fails, nothing has been deleted, but the cluster may not know the member any more; calling it again goes on.
func Replace(ctx context.Context, cfg EtcdConfig, clients []string) error {
	if err := replace(ctx, cfg.withDefaults(), clients); err != nil {
		return fmt.Errorf("replace etcd member %s: %w", cfg.Name, err)
	}
	return nil
}

func replace(ctx context.Context, cfg EtcdConfig, clients []string) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	if len(clients) == 0 {
		return errors.New("nobody stays")
	}
	d := &dataDir{path: cfg.DataDir, id: identity{Name: cfg.Name, Cluster: cfg.Cluster, Replacing: clients}}
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := d.write(); err != nil {
		return err
	}
	return d.replace(ctx, cfg, d.empty)
}

// replace does what the identity says is to be done; erase deletes what was kept. Whatever comes in between, the identity says
// so until all of it is done.
func (d *dataDir) replace(ctx context.Context, cfg EtcdConfig, erase func() error) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: d.id.Replacing, DialTimeout: replaceTry, Logger: zap.NewNop(), Context: ctx})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	if err := retry(ctx, func(ctx context.Context) error { return exchange(ctx, client, cfg) }); err != nil {
		return err
	}
	if err := erase(); err != nil {
		return err
	}
	d.id.Joins, d.id.Replacing = true, nil
	return d.write()
}

// exchange takes the member out of the cluster, unless it is out, and takes an empty one in at the same address.
func exchange(ctx context.Context, client *clientv3.Client, cfg EtcdConfig) error {
	list, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	peer := httpURL(cfg.PeerAddr)
	for _, m := range list.Members {
		switch {
		case m.Name == "" && len(m.PeerURLs) == 1 && m.PeerURLs[0] == peer.String():
			return nil // it is in already, and has never run
		case m.Name == cfg.Name:
			if _, err := client.MemberRemove(ctx, m.ID); err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
				return err
			}
		}
	}
	_, err = client.MemberAdd(ctx, []string{peer.String()})
	return err
}

// retry tries again until ctx ends; the error is the last one.
func retry(ctx context.Context, do func(context.Context) error) error {
	wait := backoff.Backoff{Base: 100 * time.Millisecond, Max: time.Second}
	for {
		attempt, cancel := context.WithTimeout(ctx, replaceTry)
		err := do(attempt)
		cancel()
		if err == nil || !backoff.Pause(ctx, wait.Next()) {
			return err
		}
	}
}
