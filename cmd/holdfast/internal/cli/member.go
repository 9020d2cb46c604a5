//go:build unix

package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/platform/embed"
)

// memberCommand runs one member of the control plane. up starts it; nobody else should.
func (a *app) memberCommand() *cobra.Command {
	var cfg embed.EtcdConfig
	var queue embed.NATSConfig
	var cluster, queueCluster []string
	var tokenFile string
	cmd := &cobra.Command{
		Use:     "member",
		Hidden:  true,
		Short:   "Run a control member (up does)",
		Example: "  holdfast member --name control-1 --data DIR --client ADDR --peer ADDR --cluster control-1=ADDR,...",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if cfg.Cluster, err = readCluster("--cluster", cluster); err != nil {
				return err
			}
			if queue.Cluster, err = readCluster("--queue-cluster", queueCluster); err != nil {
				return err
			}
			cfg.Logger = slog.New(slog.NewTextHandler(a.Err, nil))
			etcd := embed.NewEtcd(cfg)
			if queue.ClientAddr == "" {
				return lifecycle.Config{Logger: cfg.Logger}.Run(cmd.Context(), etcd)
			}
			queue.Name, queue.DataDir, queue.Logger = cfg.Name, filepath.Join(cfg.DataDir, "queue"), cfg.Logger
			queue.Insecure = cfg.Insecure
			return lifecycle.Config{Logger: cfg.Logger}.Run(cmd.Context(), lifecycle.Group("member", etcd, memberQueue(queue, tokenFile)))
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Name, "name", "", "name in the cluster")
	f.StringVar(&cfg.DataDir, "data", "", "the member's own directory")
	f.StringVar(&cfg.ClientAddr, "client", "", "address for clients")
	f.StringVar(&cfg.PeerAddr, "peer", "", "address for the other members")
	f.StringSliceVar(&cluster, "cluster", nil, "NAME=ADDR of every member")
	f.BoolVar(&cfg.Insecure, "insecure", false, "allow addresses beyond loopback, in plaintext")
	f.StringVar(&queue.ClientAddr, "queue", "", "address for clients of the engine for messages; none without it")
	f.StringVar(&queue.PeerAddr, "queue-peer", "", "its address for the other members")
	f.StringSliceVar(&queueCluster, "queue-cluster", nil, "NAME=ADDR of every member's")
	f.StringVar(&tokenFile, "queue-token-file", "", "the file with what its clients have to show")
	return cmd
}

// memberQueue is a component that runs NATS again, ever more slowly, whenever it ends. Neither it nor etcd needs the other:
// a port that is taken, a disk that is full and a directory that is damaged stop messages, and must not stop the registry.
// Services wait for etcd alone, so it is ready from the start.
func memberQueue(cfg embed.NATSConfig, tokenFile string) lifecycle.Component {
	s := lifecycle.NewSupervisor(lifecycle.SupervisorConfig{Logger: cfg.Logger})
	s.Go("nats "+cfg.Name, func(ctx context.Context) error {
		token, err := os.ReadFile(tokenFile)
		if err != nil {
			return fmt.Errorf("token of the queue: %w", err)
		}
		cfg.Token = strings.TrimSpace(string(token))
		return embed.NewNATS(cfg).Run(ctx)
	})
	return s
}

func readCluster(flag string, members []string) (map[string]string, error) {
	out := make(map[string]string, len(members))
	for _, m := range members {
		name, addr, ok := strings.Cut(m, "=")
		if !ok {
			return nil, usage("%s: %q is not NAME=ADDR", flag, m)
		}
		out[name] = addr
	}
	return out, nil
}
