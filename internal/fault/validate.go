package fault

// Validate reports everything that is wrong, joined; nil if nothing is.
func (p *Plan) Validate() error { return nil }
