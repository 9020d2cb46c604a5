package drill

import (
	"errors"

	"github.com/holdfast-go/holdfast/internal/strictyaml"
)

// Problem is one thing that is wrong in a scenario file, Problems all of it.
type (
	Problem  = strictyaml.Problem
	Problems = strictyaml.Problems
)

// Parse decodes and validates a scenario file. The name is only used in messages. The error, if any, is a Problems with all
// that is wrong.
func Parse(name string, b []byte) (*Scenario, error) {
	return nil, errors.ErrUnsupported
}
