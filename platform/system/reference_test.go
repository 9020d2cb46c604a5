package system_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/platform/system"
)

// The reference has an example that is right, and names every field that there is.
func TestTheReferenceIsComplete(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/system.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(b), "```yaml\n")
	example, tables, _ := strings.Cut(example, "```\n")
	if _, err := system.Parse("docs/system.md", []byte(example)); err != nil {
		t.Errorf("the example: %v", err)
	}
	for what, wrong := range map[string]string{
		"a file":    "qqqqqqqq: 1",
		"control":   "control: {qqqqqqqq: 1}",
		"a service": "services: {a: {qqqqqqqq: 1}}",
		"autoscale": "services: {a: {autoscale: {qqqqqqqq: 1}}}",
	} {
		_, err := system.Parse("x", []byte(wrong))
		var problems system.Problems
		if !errors.As(err, &problems) {
			t.Fatal(err)
		}
		known := regexp.MustCompile(`known fields: (.*)`).FindStringSubmatch(err.Error())
		if known == nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, field := range strings.Split(known[1], ", ") {
			if !regexp.MustCompile("`([a-z]+\\.)?" + field + "(\\.[a-z]+)?`").MatchString(tables) {
				t.Errorf("%s: nothing is said of %s", what, field)
			}
		}
	}
}
