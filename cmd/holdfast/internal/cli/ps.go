//go:build unix

package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

func (a *app) psCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ps [--json] [SERVICE]",
		Short: "List what runs",
		Long: `Lists every process of the running system: control members first, then services in the order of the system file.

SINCE is how long an instance has been in its state; WHY says of one that takes long to start why it is not ready, and of others
why their process ended last, if it ever did. Below it is what is broken on purpose, by a drill say, and when that ends if nobody
renews it.`,
		Example: `  holdfast ps
  holdfast ps orders
  holdfast ps --json | jq -r '.[] | select(.state != "ready") | .id'`,
		Args:              atMost(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			c := a.client()
			defer c.Close()
			instances, err := c.InstancesOf(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(output{a})
				enc.SetIndent("", "  ")
				return enc.Encode(instances)
			}
			a.printInstances(instances, time.Now())
			faults, err := c.Faults(cmd.Context())
			if err != nil && failure.CodeOf(err) != failure.NotFound { // the system may be of an older version
				return err
			}
			a.printFaults(faults, time.Now())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of objects with service, id, pid, addr, state, restarts, since")
	return cmd
}

func (a *app) printInstances(instances []control.Instance, now time.Time) {
	header := []string{"SERVICE", "INSTANCE", "PID", "ADDRESS", "STATE", "RESTARTS", "SINCE"}
	reasons := slices.ContainsFunc(instances, func(i control.Instance) bool { return i.Reason != "" })
	if reasons {
		header = append(header, "WHY")
	}
	rows := [][]string{header}
	for _, i := range instances {
		pid := "-"
		if i.PID != 0 {
			pid = strconv.Itoa(i.PID)
		}
		row := []string{i.Service, i.ID, pid, addresses(i), a.paintState(i.State), strconv.Itoa(i.Restarts), age(now.Sub(i.Since))}
		if reasons {
			row = append(row, terminal.Clean(i.Reason))
		}
		rows = append(rows, row)
	}
	for n, line := range table(rows) {
		if n == 0 {
			line = a.out.Paint(terminal.Dim, line)
		}
		a.printf("%s", line)
	}
}

// printFaults says what is broken on purpose; nothing if nothing is.
func (a *app) printFaults(faults []control.Fault, now time.Time) {
	if len(faults) == 0 {
		return
	}
	a.printf("")
	a.printf("%s", a.out.Paint(terminal.Yellow, "broken on purpose:"))
	for _, f := range faults {
		line := "  " + f.What
		if f.Note != "" {
			line += " (" + f.Note + ")"
		}
		lease := fmt.Sprintf(", for %s, %s left", age(now.Sub(f.Begun)), age(f.Until.Sub(now).Round(time.Second)))
		a.printf("%s%s", terminal.Clean(line), a.out.Paint(terminal.Dim, lease))
		if f.Trouble != "" {
			a.printf("%s", a.out.Paint(terminal.Red, "    "+terminal.Clean(f.Trouble)))
		}
	}
}

// addresses lists all addresses of an instance, each with its protocol if there are several.
func addresses(i control.Instance) string {
	if len(i.Addrs) < 2 {
		if i.Addr == "" {
			return "-"
		}
		return i.Addr
	}
	var out []string
	for _, protocol := range slices.Sorted(maps.Keys(i.Addrs)) {
		out = append(out, protocol+" "+i.Addrs[protocol])
	}
	return strings.Join(out, ", ")
}

func (a *app) paintState(state string) string {
	style := terminal.Yellow
	switch state {
	case "ready":
		style = terminal.Green
	case "frozen":
		style = terminal.Cyan
	case "backoff", "crash-looping":
		style = terminal.Red
	}
	return a.out.Paint(style, state)
}

// age prints a duration in its largest unit, the way lists of processes do.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// table aligns cells in columns that are two blanks apart. Styled cells count by what is seen of them.
func table(rows [][]string) []string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], terminal.Width(cell))
		}
	}
	lines := make([]string, len(rows))
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-terminal.Width(cell)+2))
			}
		}
		lines[n] = strings.TrimRight(b.String(), " ")
	}
	return lines
}
