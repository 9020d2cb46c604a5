package load

import (
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

// Status is a pattern of what a call may be answered with: "201", "2xx", "NOT_FOUND", each optionally followed by a space
// and a text that the answer has to contain.
type Status struct {
	code string
	says string
}

// CompileStatus reads a pattern. The error is INVALID_ARGUMENT.
func CompileStatus(text string) (Status, error) {
	code, says, _ := strings.Cut(strings.TrimSpace(text), " ")
	s := Status{code, strings.TrimSpace(says)}
	if _, ok := failure.ParseCode(code); ok {
		return s, nil
	}
	if len(code) == 3 && code[0] >= '1' && code[0] <= '5' {
		if _, err := strconv.Atoi(code); err == nil || code[1:] == "xx" {
			return s, nil
		}
	}
	return Status{}, invalid("%q is no status: it is a number (201), a class (2xx) or a code of gRPC (NOT_FOUND)", cut(text, 80))
}

// matches reports whether an answer is such a one.
func (s Status) matches(status, text string) bool {
	if class, ok := strings.CutSuffix(s.code, "xx"); ok {
		if len(status) != 3 || !strings.HasPrefix(status, class) {
			return false
		}
	} else if s.code != status {
		return false
	}
	return s.says == "" || strings.Contains(text, s.says)
}

func matches(all []Status, status, text string) bool {
	for _, s := range all {
		if s.matches(status, text) {
			return true
		}
	}
	return false
}
