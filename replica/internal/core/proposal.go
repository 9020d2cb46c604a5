package core

// Proposal is one command on its way. The caller makes it, fills in the exported fields, and leaves it alone until Done
// was called or Cancel returned; then it may be used again.
type Proposal struct {
	// Command is for the Machine. It is copied when it is packed: it must not change before Done.
	Command []byte
	// Key, if not empty, is an idempotency key of the caller's: whatever member is asked, and however often, a command
	// with this key is applied once, and its first result is the result of each.
	Key string
	// Done gets the result, once, on the loop or the applier; it must not block.
	Done func(Result)

	own proposalFields
}

// Result is the answer to a proposal: of the machine (Bytes, or Err as a failure.Error), or, with a reason of
// failure.Domain, why there is none: see the Err variables of this package.
type Result struct {
	Bytes []byte
	Err   error
}

// Read is one read that waits until local state may be read.
type Read struct {
	// Done is called once, on the loop; nil means: local state now is at least as new as everything that was
	// acknowledged to anybody before the read was asked for. It must not block.
	Done func(error)

	own readFields
}
