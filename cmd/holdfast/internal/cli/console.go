//go:build unix

package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

func (a *app) consoleCommand() *cobra.Command {
	var view, asJSON bool
	cmd := &cobra.Command{
		Use:   "console [--view] [--json]",
		Short: "Print a link to the console",
		Long: `Prints a link that opens the console of the running system in a browser: the system as a live graph, its calls and why they
failed, queues, policies, logs. The link lets one browser in, once, for as long as it says; up prints one, too.`,
		Example: `  holdfast console
  holdfast console --view        for somebody who may look and not touch
  xdg-open "$(holdfast console)"`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			right := control.Operate
			if view {
				right = control.View
			}
			c := a.client()
			defer c.Close()
			in, err := c.Invite(cmd.Context(), right)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(in)
			}
			a.printf("%s", terminal.Clean(in.URL))
			if a.out.Redraw { // for people; a pipe gets the link alone
				a.note("good for one browser, within %s", age(time.Until(in.Until).Round(time.Second)))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&view, "view", false, "who comes by it can look, and change nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object with url, code, until")
	return cmd
}
