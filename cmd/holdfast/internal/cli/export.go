//go:build unix

package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/kubernetes"
	"github.com/holdfast-go/holdfast/platform/system"
	"github.com/holdfast-go/holdfast/scale"
)

func (a *app) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "export kubernetes [PATH]",
		Short:   "Write a system for somewhere else than this machine",
		Long:    `Writes what a system file says in the words of another platform. There is one: kubernetes.`,
		Example: "  holdfast export kubernetes --help",
		Args:    atMost(0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.exportKubernetesCommand())
	for _, c := range cmd.Commands() {
		c.DisableFlagsInUseLine = true
	}
	return cmd
}

func (a *app) exportKubernetesCommand() *cobra.Command {
	var opts kubernetes.Options
	var metrics []string
	cmd := &cobra.Command{
		Use:   "kubernetes --image NAME [--registry URL] [--queue URL] [--insecure] [PATH]",
		Short: "Write a system as objects of Kubernetes",
		Long: `Writes the system of the file system.yaml in PATH (default: this directory), or of the file PATH, as YAML for kubectl apply:
Deployments, StatefulSets for what keeps replicated state, Services, disruption budgets, autoscalers, network policies, settings.
What has to be there beside that, such as Secrets, is said on standard error. Nothing is sent anywhere.

The control members of a system file are for one machine: elsewhere it takes an etcd or Consul, and an engine for messages, of
your own. The services do not change.`,
		Example: `  holdfast export kubernetes --image 'registry.example.com/{system}/{service}:1.0' --registry etcd://etcd:2379 \
    --queue nats://nats:4222 --insecure examples/shop > shop.yaml
  kubectl apply -f shop.yaml`,
		Args: atMost(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := "."
			if len(args) == 1 {
				path = args[0]
			}
			sys, err := system.Load(path)
			if err != nil {
				return explainLoad(path, err)
			}
			if opts.Metrics, err = namedMetrics(metrics); err != nil {
				return err
			}
			export, err := kubernetes.New(sys, opts)
			if err != nil {
				return wrongExport(err)
			}
			for _, note := range export.Notes {
				a.noteLine(note)
			}
			return export.Write(output{a})
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.Image, "image", "", "`NAME` of the images, with {service} (and {system}) in place of names")
	f.StringVar(&opts.Registry, "registry", "", "`URL` of the registry there, instead of the system file's: etcd://… or consul://…")
	f.StringVar(&opts.Queue, "queue", "", "`URL` of the engine for messages there, instead of the system file's: nats://…, kafka://…, amqp://…; or none")
	f.StringVar(&opts.Namespace, "namespace", "", "`NAME` of the namespace (default the system's name)")
	f.BoolVar(&opts.Insecure, "insecure", false, "let the processes speak plaintext to each other")
	f.StringVar(&opts.StorageClass, "storage-class", "", "`NAME` of the storage class of volumes for replicated state (default the cluster's)")
	f.StringVar(&opts.Storage, "storage", "", "`SIZE` of each such volume (default 2Gi)")
	f.StringArrayVar(&metrics, "metric", nil, "in-flight=`NAME`: name of a metric of pods that an adapter of yours serves; also limiter=, custom=")
	return cmd
}

// noteLine writes what people have to know beside the output.
func (a *app) noteLine(text string) {
	_, _ = a.Err.Write([]byte("holdfast export kubernetes: note: " + terminal.Clean(text) + "\n"))
}

// namedMetrics reads METRIC=NAME.
func namedMetrics(flags []string) (map[scale.Metric]string, error) {
	named := make(map[scale.Metric]string)
	for _, f := range flags {
		metric, name, ok := strings.Cut(f, "=")
		switch m := scale.Metric(metric); {
		case !ok || name == "":
			return nil, usage("--metric takes METRIC=NAME, not %q", f)
		case m != scale.InFlight && m != scale.Limiter && m != scale.Custom:
			return nil, usage("--metric is for in-flight, limiter and custom, not %q", metric)
		default:
			named[m] = name
		}
	}
	return named, nil
}

// wrongExport says what is missing, a line each: most of it is a flag.
func wrongExport(err error) error {
	lines := strings.Split(failure.From(err).Message, "\n")
	if len(lines) == 1 {
		return usage("%s", lines[0])
	}
	return usage("%d things are missing or wrong\n  %s", len(lines), strings.Join(lines, "\n  "))
}
