package telemetry

import "github.com/holdfast-go/holdfast/failure"

// reason is why a span is kept.
type reason uint8

const (
	keepNot     reason = iota
	keepSampled        // its trace was chosen
	keepError          // the server's fault
	keepMistake        // the caller's
	keepShed           // a server has refused what was called
	keepRetried
	keepHedged
	keepRefused
	keepSlow

	lastReason
)

// String returns holdfast.keep.
func (r reason) String() string {
	switch r {
	case keepSampled:
		return "sampled"
	case keepError, keepMistake, keepShed:
		return "error"
	case keepRetried:
		return "retried"
	case keepHedged:
		return "hedged"
	case keepRefused:
		return "refused"
	case keepSlow:
		return "slow"
	case keepNot, lastReason:
	}
	return ""
}

// share returns the bucket that it takes from.
func (r reason) share() share {
	switch r {
	case keepRetried, keepHedged, keepSlow:
		return shareSlow
	case keepRefused, keepShed:
		return shareRefused
	case keepMistake:
		return shareMistakes
	case keepNot, keepSampled, keepError, lastReason:
	}
	return shareFaults
}

// keepWord returns what came from outside as a reason, or keepNot if it is none of them.
func keepWord(s string) reason {
	for _, r := range [...]reason{keepError, keepRetried, keepHedged, keepRefused, keepSlow} {
		if s == r.String() {
			return r
		}
	}
	return keepNot
}

// blame returns whose fault a failure is; status is that of HTTP, or 0.
func blame(code failure.Code, status int) reason {
	switch {
	case status >= 500, status == 0 && serverFault(code):
		return keepError
	case status != 0 && status < 400 && serverFault(code): // it broke after the answer had begun
		return keepError
	}
	return keepMistake
}
