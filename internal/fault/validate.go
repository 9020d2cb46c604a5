package fault

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// The bounds of a Plan.
const (
	MaxRules     = 1000             // of Dial, of Calls
	MaxAddresses = 1000             // of a Link
	MaxMethods   = 100              // of a Calls
	MaxDelay     = 10 * time.Minute // of anything
	MaxBallast   = 64 << 30         // bytes
)

// codes are those that a call can fail with.
var codes = []string{
	"CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// Validate reports everything that is wrong, joined; nil if nothing is.
func (p *Plan) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("plan: "+format, args...)) }
	if len(p.Dial) > MaxRules || len(p.Calls) > MaxRules {
		bad("more than %d rules", MaxRules)
		return errors.Join(errs...)
	}
	for n, l := range p.Dial {
		at := fmt.Sprintf("dial[%d]", n)
		if len(l.To) == 0 || len(l.To) > MaxAddresses {
			bad("%s: to: %d addresses, not 1 to %d", at, len(l.To), MaxAddresses)
			continue
		}
		for _, to := range l.To {
			if _, _, err := net.SplitHostPort(to); err != nil && to != "*" {
				bad("%s: to: %.100q is not HOST:PORT, nor *", at, to)
			}
		}
		l.Shape.validate(at, bad)
	}
	if p.Accept != nil {
		p.Accept.validate("accept", bad)
	}
	for n, c := range p.Calls {
		c.validate(fmt.Sprintf("calls[%d]", n), bad)
	}
	if d := p.Disk; d != nil {
		duration("disk: slow_sync", d.SlowSync, bad)
	}
	if p.Ballast < 0 || p.Ballast > MaxBallast {
		bad("ballast: %d is not within 0 and %d bytes", p.Ballast, int64(MaxBallast))
	}
	return errors.Join(errs...)
}

func duration(what string, d time.Duration, bad func(string, ...any)) {
	if d < 0 || d > MaxDelay {
		bad("%s: %v is not within 0 and %v", what, d, MaxDelay)
	}
}

func (s *Shape) validate(at string, bad func(string, ...any)) {
	duration(at+": delay", s.Delay, bad)
	duration(at+": jitter", s.Jitter, bad)
	duration(at+": reset_every", s.ResetEvery, bad)
	if s.Rate < 0 {
		bad("%s: rate: %d is negative", at, s.Rate)
	}
}

func (c *Calls) validate(at string, bad func(string, ...any)) {
	if !(c.Share > 0 && c.Share <= 1) { // not a number is neither
		bad("%s: share: %v is not in (0, 1]", at, c.Share)
	}
	if c.Code != "" && !slices.Contains(codes, c.Code) {
		bad("%s: code: %.100q is none of gRPC's", at, c.Code)
	}
	duration(at+": delay", c.Delay, bad)
	if len(c.Methods) > MaxMethods {
		bad("%s: methods: more than %d", at, MaxMethods)
		return
	}
	for _, m := range c.Methods {
		_, path, http := strings.Cut(m, " ")
		if !http {
			path = m
		}
		if !strings.HasPrefix(path, "/") {
			bad("%s: methods: %.100q is neither /package.Service/Method nor METHOD /path", at, m)
		}
	}
}

// matches reports whether the rule is for a call, as Injector.Call has it.
func (c *Calls) matches(method, name string, exempt bool) bool {
	if len(c.Methods) == 0 {
		return !exempt
	}
	for _, m := range c.Methods {
		if method == "" {
			if m == name {
				return true
			}
			continue
		}
		if wanted, prefix, ok := strings.Cut(m, " "); ok && wanted == method && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
