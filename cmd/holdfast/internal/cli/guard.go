//go:build unix

package cli

import (
	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/platform/supervise"
)

// guardCommand waits for the end of the supervisor that started it and then kills what that left behind. Interrupts
// are up's business: it lives until its pipe ends.
func (a *app) guardCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "guard",
		Hidden:  true,
		Short:   "Guard the processes of a system (up does)",
		Example: "  holdfast guard < PIPE",
		Args:    atMost(0),
		RunE:    func(*cobra.Command, []string) error { return supervise.Guard(a.In, a.Out) },
	}
}
