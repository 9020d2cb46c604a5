//go:build unix

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/holdfast-go/holdfast/internal/ports"
)

// Cluster is brokers of which each is a controller, too.
type Cluster []*Broker

// StartCluster starts n brokers and waits until they take clients.
func StartCluster(ctx context.Context, dir string, n int) (Cluster, error) {
	var errs []error
	for range startTries {
		c, err := startCluster(ctx, dir, n)
		if err == nil {
			return c, nil
		}
		c.Close()
		errs = append(errs, err)
		if !errors.Is(err, errPortTaken) {
			break
		}
		for _, b := range c {
			_ = os.RemoveAll(b.data())
		}
	}
	return nil, errors.Join(errs...)
}

func startCluster(ctx context.Context, dir string, n int) (Cluster, error) {
	var c Cluster
	var voters []string
	for i := range n {
		p, err := ports.Reserve(3)
		if err != nil {
			return c, fmt.Errorf("start kafka: %w", err)
		}
		c = append(c, &Broker{cfg: Config{Dir: dir, id: i + 1, ports: p, brokers: n}, ports: p})
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, p.Addr(1)))
	}
	for _, b := range c {
		b.cfg.voters = strings.Join(voters, ",")
		if err := b.launch(); err != nil {
			return c, err
		}
	}
	for _, b := range c {
		if err := b.Ready(ctx); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Close ends all of them.
func (c Cluster) Close() {
	for _, b := range c {
		b.Close()
	}
}

// URL returns that of package kafkaqueue.
func (c Cluster) URL() string {
	addrs := make([]string, len(c))
	for i, b := range c {
		addrs[i] = b.Addr()
	}
	return "kafka://" + strings.Join(addrs, ",")
}
