//go:build unix

package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/drill"
	"github.com/holdfast-go/holdfast/platform/system"
)

func (a *app) drillInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [SYSTEM]",
		Short: "Write first drills for a system",
		Long: `Writes files into SYSTEM/drills that can be run as they are, with comments that say what to change: standard.yaml, with what
users do and what they are promised, which all others take from there; one with faults; one with random faults. A file
that is there already is left alone.`,
		Example: `  holdfast drill init examples/shop`,
		Args:    atMost(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := "."
			if len(args) == 1 {
				path = args[0]
			}
			return a.drillInit(path)
		},
	}
}

func (a *app) drillInit(path string) error {
	sys, err := system.Load(path)
	if err != nil {
		return explainLoad(path, err)
	}
	dir := filepath.Join(sys.Dir, drill.Dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var rows [][]string
	for _, f := range drill.Begin(sys) {
		name := filepath.Join(dir, f.Name)
		switch err := writeNew(name, f.Text); {
		case errors.Is(err, fs.ErrExist):
			rows = append(rows, []string{"  left alone", relative(name)})
		case err != nil:
			return err
		default:
			rows = append(rows, []string{"  written", relative(name)})
		}
	}
	for _, line := range table(rows) {
		a.printf("%s", line)
	}
	a.printf("")
	a.printf("Write what your users do into %s, then:", relative(filepath.Join(dir, drill.StandardName+".yaml")))
	for _, line := range table([][]string{
		{"  " + a.command("drill "+path), a.out.Paint(terminal.Dim, "a minute with one of each fault")},
		{"  " + a.command("drill --random --for 5m "+path), a.out.Paint(terminal.Dim, "whatever comes")},
		{"  " + a.command("drill list "+path), a.out.Paint(terminal.Dim, "which drills there are")},
	}) {
		a.printf("%s", line)
	}
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
