package balance

// Health is what the end of an attempt says about the instance it was made at.
type Health uint8

// What it can say.
const (
	Neutral    Health = iota // nothing
	Good                     // it answered
	Bad                      // it was not reached, broke off, or did not answer in time
	Suspicious               // it answered that something is wrong with it, which alone proves nothing
)
