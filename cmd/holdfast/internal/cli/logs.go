//go:build unix

package cli

import (
	"context"
	"errors"
	"hash/fnv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

func (a *app) logsCommand() *cobra.Command {
	q := control.LogQuery{Lines: 200}
	var times bool
	cmd := &cobra.Command{
		Use:   "logs [-f] [-n N] [-t] [SERVICE]",
		Short: "Show what services write",
		Long: `Shows the last lines that the processes of a service wrote to standard output and standard error, or those of an
instance, of the control members ("control"), or of everything. All that was written is in files in the data directory.`,
		Example: `  holdfast logs                  the last 200 lines of everything
  holdfast logs -f orders        those of orders, and new ones as they come
  holdfast logs -n 20 orders-1   the last 20 of one instance`,
		Args:              atMost(1),
		ValidArgsFunction: a.completeTargets(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Lines < 0 || q.Lines > control.MaxLogLines {
				return usage("--lines must be from 0 to %d, not %d", control.MaxLogLines, q.Lines)
			}
			q.Service = strings.Join(args, "")
			c := a.client()
			defer c.Close()
			widest := 0
			err := c.Logs(cmd.Context(), q, func(l control.LogLine) error {
				widest = max(widest, len(l.Instance))
				a.printf("%s", a.logLine(l, widest, times))
				return a.lostOutput()
			})
			if q.Follow && errors.Is(err, context.Canceled) {
				return nil // Ctrl-C is how following ends
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "go on with new lines until Ctrl-C")
	cmd.Flags().IntVarP(&q.Lines, "lines", "n", q.Lines, "begin with the last `N` lines")
	cmd.Flags().BoolVarP(&times, "times", "t", false, "show when each line was written")
	return cmd
}

// logLine is "instance | text". Each instance keeps its colour.
func (a *app) logLine(l control.LogLine, width int, times bool) string {
	prefix := ""
	if times {
		prefix = a.out.Paint(terminal.Dim, l.Time.Local().Format("15:04:05.000")) + " "
	}
	if l.Dropped > 0 {
		return prefix + a.out.Paint(terminal.Yellow, "... "+plural(l.Dropped, "line")+" lost here: the reader was too slow ...")
	}
	colors := []terminal.Style{terminal.Cyan, terminal.Green, terminal.Violet, terminal.Blue, terminal.Yellow}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(l.Instance))
	name := l.Instance + strings.Repeat(" ", max(0, width-len(l.Instance)))
	return prefix + a.out.Paint(colors[sum.Sum32()%uint32(len(colors))], name+" |") + " " + strings.TrimRight(l.Text, "\r\n")
}
