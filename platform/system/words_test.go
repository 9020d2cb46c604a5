package system

import (
	"slices"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string
	}{
		{``, nil},
		{`  `, nil},
		{`./gateway`, []string{"./gateway"}},
		{"go  run\t./gateway\n", []string{"go", "run", "./gateway"}},
		{`python3 -c 'print("hi there")'`, []string{"python3", "-c", `print("hi there")`}},
		{`a "b c" d\ e "f\"g" "h\\i" "j\k" 'l\m'`, []string{"a", "b c", "d e", `f"g`, `h\i`, `j\k`, `l\m`}},
		{`a '' ""`, []string{"a", "", ""}},
		{`a$HOME *`, []string{"a$HOME", "*"}},
		{`x'y'"z"`, []string{"xyz"}},
	} {
		got, err := split(c.line)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("split(%q) = %q, %v; want %q", c.line, got, err, c.want)
		}
	}
	for _, line := range []string{`a 'b`, `a "b`, `a\`, `"\`} {
		if got, err := split(line); err == nil {
			t.Errorf("split(%q) = %q, want an error", line, got)
		}
	}
}
