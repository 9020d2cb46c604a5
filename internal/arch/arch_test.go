package arch_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/holdfast-go/holdfast/internal/arch"
)

func TestImportsOnlyPointDown(t *testing.T) {
	violations, err := arch.Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
}

func TestCheckFindsWhatTheLayersForbid(t *testing.T) {
	const m = arch.Module
	for _, c := range []struct {
		name, file, src, want string
	}{
		{"up", "balance/a.go", `import "` + m + `/rpc"`, "layer 1 (balance) may not import layer 3 (rpc)"},
		{"sideways", "rpc/a.go", `import "` + m + `/rest"`, "may not import"},
		{"sideways listed", "registry/a.go", `import "` + m + `/registry/driver"`, ""},
		{"down", "rpc/a.go", `import "` + m + `/failure"`, ""},
		{"root", "rest/a.go", `import "` + m + `"`, "may not import layer 4 (.)"},
		{"from root", "a.go", `import "` + m + `/rpc"`, ""},
		{"test support", "rpc/a_test.go", `import "` + m + `/internal/memnet"`, ""},
		{"another example", "examples/a/a.go", `import "` + m + `/examples/b"`, "may not import"},
		{"its own tree", "examples/a/x/a.go", `import "` + m + `/examples/a/y"`, ""},
		{"shared by programs of a kind", "bench/a/a.go", `import "` + m + `/bench/internal/load"`, ""},
		{"no layer", "nowhere/a.go", ``, "stands in no layer"},
		{"others are not ours", "balance/a.go", `import "google.golang.org/grpc"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := arch.Check(fstest.MapFS{c.file: {Data: []byte("package p\n" + c.src)}})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("allowed import refused: %v", got)
			case c.want != "" && (len(got) != 1 || !strings.Contains(got[0].String(), c.want)):
				t.Errorf("got %v, want one violation with %q", got, c.want)
			}
		})
	}
}
