package strictyaml

import (
	"fmt"
	"strings"
)

// maxProblems bounds the problems of one file. Nobody reads more, and a file of garbage has one in each line.
const maxProblems = 50

// Problem is one thing that is wrong in a document.
type Problem struct {
	// File as given to the parser.
	File string
	// Line and Column start at 1; Line is 0 when the problem is about the file as a whole, Column 0 when only the
	// line is known.
	Line, Column int
	// Message says what is wrong and, where it can be guessed, what was meant.
	Message string
}

// String is "file:line:column: message", a form that editors and terminals can jump to.
func (p Problem) String() string {
	switch {
	case p.Line == 0:
		return fmt.Sprintf("%s: %s", p.File, p.Message)
	case p.Column == 0:
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Problems is everything that is wrong, in the order of the file, never empty, at most 50
// and then one that says how many more there are.
type Problems []Problem //nolint:errname // it is what it holds, and its users handle it as a list

// Error is one line per problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}
