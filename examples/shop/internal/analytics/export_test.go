package analytics

// Format is the version of commands and snapshots.
const Format = format

// NewTallyOf returns an empty Tally that knows the last remembered events.
func NewTallyOf(remembered int) *Tally { return newTally(remembered) }

// Known returns how many events it knows, by both of its books.
func (t *Tally) Known() (byID, byNumber int) { return t.seen.Len(), t.order.Len() }
