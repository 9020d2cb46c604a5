//go:build unix

package host

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/supervise"
	"github.com/holdfast-go/holdfast/platform/system"
)

// What the file says of a service's protocols is what its instances have to listen for; what it leaves open is not.
func TestWhatTheFileSaysIsServed(t *testing.T) {
	sys, err := system.Parse("system.yaml", []byte(`system: a
services:
  open: {run: ./a}
  none: {run: ./a, serves: none}
  said: {run: ./a, serves: grpc}
  both: {run: ./a, serves: [http, grpc], http: 127.0.0.1:1001}
  http: {run: ./a, http: 127.0.0.1:1002}
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"open": nil, "none": nil, "said": {"grpc"}, "both": {"http", "grpc"}, "http": {"http"},
	} {
		svc, ok := sys.Service(name)
		if got := serves(svc); !ok || !slices.Equal(got, want) {
			t.Errorf("%s serves %v, want %v", name, got, want)
		}
	}
}

// What is taken from the last run is not said to have been built.
func TestProgramsThatAreNotBuilt(t *testing.T) {
	h := &Host{cfg: Config{NoBuild: true}, feed: newFeed(), progress: Progress{System: "a", State: control.Starting}}
	build := supervise.Build{Dir: t.TempDir(), Out: t.TempDir(), Packages: []string{"./web"}}
	if _, err := h.programs(t.Context(), build); err == nil || len(h.feed.kept) != 0 {
		t.Errorf("%v, %v", err, h.feed.kept)
	}
	if err := os.WriteFile(filepath.Join(build.Out, "web"), []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	programs, err := h.programs(t.Context(), build)
	if err != nil || len(programs) != 1 {
		t.Fatalf("%v, %v", programs, err)
	}
	if len(h.feed.kept) != 1 || h.feed.kept[0].Message != "using the programs that the last run built" || h.progress.Build != (BuildProgress{}) {
		t.Errorf("%v, %+v", h.feed.kept, h.progress.Build)
	}
}

// An address that holdfast up itself has is not taken by another program.
func TestAnAddressThatTheControlAPIHas(t *testing.T) {
	const self = "is the address of the control API of this holdfast up"
	for _, tc := range []struct {
		http, control string
		self          bool
	}{
		{"127.0.0.1:7070", "127.0.0.1:7070", true},
		{"0.0.0.0:7070", "127.0.0.1:7070", true},
		{":7070", "127.0.0.1:7070", true},
		{"127.0.0.1:7070", "[::]:7070", true},
		{"127.0.0.1:7071", "127.0.0.1:7070", false},
		{"127.0.0.2:7070", "127.0.0.1:7070", false},
	} {
		err := explainEdge(system.Service{Name: "web", HTTP: tc.http}, tc.control, true, syscall.EADDRINUSE)
		var taken *TakenError
		if !errors.As(err, &taken) || strings.Contains(err.Error(), self) != tc.self || strings.Contains(err.Error(), "another program") == tc.self {
			t.Errorf("%s beside %s: %v", tc.http, tc.control, err)
		}
	}
}
