package report_test

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/drill/report"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func samples() map[string]*report.Report {
	return map[string]*report.Report{"good": sample(), "bad": badSample(), "notrun": notRun()}
}

func golden(t *testing.T, name string, write func(io.Writer) error) {
	t.Helper()
	var got bytes.Buffer
	if err := write(&got); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s differs from what was written; see what changed with -update and git diff", path)
	}
}

func TestGolden(t *testing.T) {
	for name, r := range samples() {
		golden(t, name+".txt", func(w io.Writer) error { return report.Terminal(w, r, report.Screen{}) })
		golden(t, name+".json", func(w io.Writer) error { return report.JSON(w, r) })
		golden(t, name+".xml", func(w io.Writer) error { return report.JUnit(w, r) })
		golden(t, name+".html", func(w io.Writer) error { return report.HTML(w, r) })
	}
	bad := badSample()
	golden(t, "bad-color.txt", func(w io.Writer) error { return report.Terminal(w, bad, report.Screen{Width: 120, Color: true}) })
	golden(t, "bad-ascii.txt", func(w io.Writer) error {
		return report.Terminal(w, bad, report.Screen{Width: 60, Height: 24, ASCII: true})
	})
	golden(t, "long.txt", func(w io.Writer) error { return report.Terminal(w, long(), report.Screen{Width: 100}) })
	all := []*report.Report{sample(), bad, notRun()}
	golden(t, "summary.txt", func(w io.Writer) error { return report.Summary(w, report.Screen{}, all...) })
}
