//go:build unix

package cli

import (
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/platform/embed"
)

// memberCommand runs one member of the control plane. up starts it; nobody else should.
func (a *app) memberCommand() *cobra.Command {
	var cfg embed.EtcdConfig
	var cluster []string
	cmd := &cobra.Command{
		Use:     "member",
		Hidden:  true,
		Short:   "Run a control member (up does)",
		Example: "  holdfast member --name control-1 --data DIR --client ADDR --peer ADDR --cluster control-1=ADDR,...",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Cluster = make(map[string]string, len(cluster))
			for _, m := range cluster {
				name, addr, ok := strings.Cut(m, "=")
				if !ok {
					return usage("--cluster: %q is not NAME=ADDR", m)
				}
				cfg.Cluster[name] = addr
			}
			cfg.Logger = slog.New(slog.NewTextHandler(a.Err, nil))
			return lifecycle.Config{Logger: cfg.Logger}.Run(cmd.Context(), embed.NewEtcd(cfg))
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Name, "name", "", "name in the cluster")
	f.StringVar(&cfg.DataDir, "data", "", "the member's own directory")
	f.StringVar(&cfg.ClientAddr, "client", "", "address for clients")
	f.StringVar(&cfg.PeerAddr, "peer", "", "address for the other members")
	f.StringSliceVar(&cluster, "cluster", nil, "NAME=ADDR of every member")
	return cmd
}
