//go:build unix

package cli

import (
	"crypto/tls"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/platform/control"
)

func (a *app) tokenCommand() *cobra.Command {
	var view bool
	cmd := &cobra.Command{
		Use:   "token [--view]",
		Short: "Make a token for the control API",
		Long: `Makes a token for the control API of the running system and prints it: for a program, or for somebody at another machine, who sets
HOLDFAST_TOKEN to it. It is void after a day, and when the system ends. On this machine the commands of the user who runs the system need
none.

To have one that stays, set HOLDFAST_TOKEN, to at least 32 characters, for "holdfast up" and for who uses it.`,
		Example: `  holdfast token --view
  HOLDFAST_TOKEN=... holdfast ps --control https://build-7:7070
  curl -H "Authorization: Bearer $(holdfast token)" -H 'Content-Type: application/json' -d '{"target": "orders-1"}' localhost:7070/v1/kill`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			right := control.Operate
			if view {
				right = control.View
			}
			c := a.client()
			defer c.Close()
			made, err := c.Token(cmd.Context(), right)
			if err != nil {
				return err
			}
			a.printf("%s", made.Token)
			return nil
		},
	}
	cmd.Flags().BoolVar(&view, "view", false, "who has it can look, and change nothing")
	return cmd
}

// controlTLS is how the control API speaks with a certificate; nil without one.
func controlTLS(cert, key string) (*tls.Config, error) {
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, usage("--control-cert and --control-key belong together")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, usage("--control-cert %s, --control-key %s: %v", cert, key, err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}}, nil
}
