package report

import "io"

// JSON writes {"verdict", "exit_code", "drills": [...]}, in which each is a Report with its own verdict and reasons. Errors are those of w.
func JSON(w io.Writer, reports ...*Report) error { return nil }
