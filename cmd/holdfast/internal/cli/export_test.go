//go:build unix

package cli_test

import (
	"strings"
	"testing"
)

func TestExportKubernetes(t *testing.T) {
	l := &line{}
	if code := l.run("export", "kubernetes", "--image", "{service}:1", "--registry", "etcd://etcd:2379", "--queue", "none", "../../../../examples/greeter"); code != 0 {
		t.Fatalf("exit code %d: %s", code, l.err.String())
	}
	if !strings.Contains(l.out.String(), "\nkind: Deployment\n") || !strings.Contains(l.out.String(), "image: front:1\n") {
		t.Errorf("wrote:\n%s", l.out.String())
	}
	if !strings.HasPrefix(l.err.String(), "holdfast export kubernetes: note: the processes refuse plaintext") {
		t.Errorf("notes: %s", l.err.String())
	}
}

func TestExportSaysWhatIsMissing(t *testing.T) {
	for args, want := range map[string]string{
		"":                                      "holdfast export kubernetes: 3 things are missing or wrong\n  image: is missing",
		"--image a:1 --metric lag=x":            `holdfast export kubernetes: --metric is for in-flight, limiter and custom, not "lag"`,
		"--image a:1 --metric in-flight":        `holdfast export kubernetes: --metric takes METRIC=NAME, not "in-flight"`,
		"--image a:1 --registry x --queue none": "holdfast export kubernetes: 2 things are missing or wrong\n  image: a:1 has no {service}",
	} {
		l := &line{}
		code := l.run(append(append([]string{"export", "kubernetes"}, strings.Fields(args)...), "../../../../examples/greeter")...)
		if code != 2 || !strings.HasPrefix(l.err.String(), want) || l.out.String() != "" {
			t.Errorf("%q: exit code %d, %s", args, code, l.err.String())
		}
	}
	l := &line{}
	if code := l.run("export", "nomad"); code != 2 {
		t.Errorf("exit code %d, %s", code, l.err.String())
	}
}
