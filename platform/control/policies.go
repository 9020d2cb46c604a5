package control

// Where a value of a policy comes from; a later one takes the place of those before.
const (
	SourceDefault = "default" // Holdfast's own
	SourceCode    = "code"    // the program: of the service itself, or of the first that calls it and says something
	SourceFile    = "file"    // the system file
	SourceLive    = "live"    // holdfast policy set
)

// PolicyInForce is what is in force for one service.
type PolicyInForce struct {
	Service string `json:"service"`
	// Revision is that of the live policy, 0 without one.
	Revision uint64 `json:"revision,omitempty"`
	// Values are in the order in which a policy is written.
	Values []PolicyValue `json:"values"`
	// Refused is why the live policy is not in force, a line for each reason; empty if it is, or if there is none.
	Refused []string `json:"refused,omitempty"`
	// Missing is why Values may be wrong: "what the program of orders says is not known: ..."; empty if they are not.
	Missing string `json:"missing,omitempty"`
}

// PolicyValue is one value and where it comes from.
type PolicyValue struct {
	Key    string `json:"key"`    // "calls.timeout", "calls.methods./shop.v1.Orders/Get.attempts"
	Value  string `json:"value"`  // as it would be written
	Source string `json:"source"` // SourceDefault ...
	// Otherwise is what would be in force without this value, empty if that is nothing.
	Otherwise string `json:"otherwise,omitempty"`
}
