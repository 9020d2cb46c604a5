package control

import "time"

// Right is what a token, or somebody who has logged in, may do.
type Right string

// The rights. Operate includes View.
const (
	View    Right = "view"    // whatever does not change anything
	Operate Right = "operate" // all else
)

const (
	// TokenVariable is the environment variable with a token that a [Client] uses, before any that it finds in a file.
	TokenVariable = "HOLDFAST_TOKEN"
	// KeyHeader has to be sent with every change by a browser that has logged in: its value is Session.Key. A page of another
	// origin can neither read the key nor send the header.
	KeyHeader = "X-Holdfast"
)

// Invitation lets a browser in, once.
type Invitation struct {
	// URL is that of the console, with the code in its fragment, which browsers do not send.
	URL   string    `json:"url"`
	Code  string    `json:"code"`
	Until time.Time `json:"until"` // when it is void
}

// Token is a token that was made on demand. It is void after a day, when the system ends, or when 63 others were made since.
type Token struct {
	Token string `json:"token"`
	Right Right  `json:"right"`
}

// Session is somebody who has logged in with an Invitation, in a browser. The rest of it is in a cookie.
type Session struct {
	Right Right     `json:"right"`
	Key   string    `json:"key,omitempty"`  // for KeyHeader; told once, at the login
	Until time.Time `json:"until,omitzero"` // zero for a token: as long as the system runs
}
