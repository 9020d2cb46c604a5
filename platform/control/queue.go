package control

import "time"

const (
	// MaxDead bounds how many dead letters one request lists, DefaultDead is how many 0 means.
	MaxDead     = 200
	DefaultDead = 50
	// MaxPositions bounds how many dead letters one request can name.
	MaxPositions = 200
	// MaxDeadData bounds how much of a dead letter's data is shown, in bytes.
	MaxDeadData = 16 << 10
)

// Queue is how far one consumer group of a topic is.
type Queue struct {
	Topic string `json:"topic"`
	Group string `json:"group"`
	// Lag is Waiting and Unsettled together.
	Lag       int64 `json:"lag"`
	Waiting   int64 `json:"waiting"`   // not delivered yet
	Unsettled int64 `json:"unsettled"` // delivered, and not done
	Dead      int64 `json:"dead"`      // failed for good, and set aside
	// Oldest is how old the oldest of the messages received last was, 0 if not known.
	Oldest time.Duration `json:"oldest,omitempty"`
	// Rate is by how many messages a second the lag has changed since it was measured before: below 0 it catches up.
	Rate float64 `json:"rate"`
	// Slowed are the instances whose attempts fail for want of a dependency, and that only probe for it.
	Slowed []string `json:"slowed,omitempty"`
	// Subscribers are the instances that receive, as far as they say so.
	Subscribers []string `json:"subscribers,omitempty"`
	// At is when it was measured.
	At time.Time `json:"at"`
}

// DeadLetter is a message that its group could not handle.
type DeadLetter struct {
	// Position names it, for Replay and Discard and to list on from.
	Position   string    `json:"position"`
	Buried     time.Time `json:"buried"`
	Reason     string    `json:"reason"`
	Attempts   int       `json:"attempts"`
	FirstError string    `json:"first_error,omitempty"`
	LastError  string    `json:"last_error,omitempty"`
	Instance   string    `json:"instance,omitempty"` // that gave up
	Replays    int       `json:"replays,omitempty"`  // before
	// Of the message.
	ID          string            `json:"id"`
	Source      string            `json:"source,omitempty"`
	Type        string            `json:"type,omitempty"`
	Key         string            `json:"key,omitempty"`
	Time        time.Time         `json:"time,omitzero"`
	ContentType string            `json:"content_type,omitempty"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	// Trace is the ID of the trace in which it was published, empty without one.
	Trace string `json:"trace,omitempty"`
	// Data is what is in it, at most MaxDeadData bytes; Encoding is "text" or "base64". Size is how much it is, in bytes.
	Data     string `json:"data,omitempty"`
	Encoding string `json:"encoding,omitempty"`
	Size     int    `json:"size"`
}
