package system

import "github.com/holdfast-go/holdfast/internal/strictyaml"

// Problem is one thing that is wrong in a system file, or in a file that it names.
type Problem = strictyaml.Problem

// Problems is the error of Parse and Load: everything that is wrong, in the order of the file, never empty, at most 50
// and then one that says how many more there are.
type Problems = strictyaml.Problems //nolint:errname // as there
