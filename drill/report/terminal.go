package report

import "io"

// Screen is what a report is written to for people to read. The zero value is 80 columns, no colours.
type Screen struct {
	Width int  // columns; 0 is 80
	Color bool // only for terminals whose user has not said NO_COLOR
	ASCII bool // nothing beyond ASCII
}

// Terminal writes one report so that it fits on a screen: the verdict, why, the timeline, what was expected, what was
// broken on purpose, and how to do it again. Errors are those of w.
func Terminal(w io.Writer, r *Report, s Screen) error { return nil }

// Summary writes one line for each of several reports, and what they come to. Errors are those of w.
func Summary(w io.Writer, s Screen, reports ...*Report) error { return nil }
