//go:build unix

package cli

import (
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
			token, err := os.ReadFile(tokenFile)
			if err != nil {
				return fmt.Errorf("token of the queue: %w", err)
			}
			queue.Name, queue.DataDir, queue.Logger = cfg.Name, filepath.Join(cfg.DataDir, "queue"), cfg.Logger
			queue.Token = strings.TrimSpace(string(token))
			// Neither needs the other, and services wait for etcd alone: without its Ready, nobody waits for NATS.
			nats := lifecycle.Named("nats "+cfg.Name, lifecycle.Func(embed.NewNATS(queue).Run))
			return lifecycle.Config{Logger: cfg.Logger}.Run(cmd.Context(), lifecycle.Group("member", etcd, nats))
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Name, "name", "", "name in the cluster")
	f.StringVar(&cfg.DataDir, "data", "", "the member's own directory")
	f.StringVar(&cfg.ClientAddr, "client", "", "address for clients")
	f.StringVar(&cfg.PeerAddr, "peer", "", "address for the other members")
	f.StringSliceVar(&cluster, "cluster", nil, "NAME=ADDR of every member")
	f.StringVar(&queue.ClientAddr, "queue", "", "address for clients of the engine for messages; none without it")
	f.StringVar(&queue.PeerAddr, "queue-peer", "", "its address for the other members")
	f.StringSliceVar(&queueCluster, "queue-cluster", nil, "NAME=ADDR of every member's")
	f.StringVar(&tokenFile, "queue-token-file", "", "the file with what its clients have to show")
	return cmd
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
