package resilience

import (
	"context"
	"strconv"
)

// Criticality says how much is lost if a call fails, so that what is lost least goes first when there is too much.
// The order is that of the numbers. Source: SRE book, "Handling Overload".
type Criticality int8

// The levels. The zero value is Critical, which is the default and costs nothing on the wire.
const (
	// Sheddable: may fail often and for long, and nobody notices: a batch job, a prefetch.
	Sheddable Criticality = -2
	// SheddablePlus: may fail at times, since somebody tries again later.
	SheddablePlus Criticality = -1
	// Critical: a user sees it.
	Critical Criticality = 0
	// CriticalPlus: a user sees it at once and cannot go on, and it is rare.
	CriticalPlus Criticality = 1
)

// The names by which a call takes its facts along: lower case for gRPC metadata, and an HTTP header is found by any
// spelling. What is absent has its default.
const (
	HeaderCriticality = "x-criticality"
	HeaderTenant      = "x-tenant"
	HeaderAttempt     = "x-attempt"
)

const (
	maxTenant = 64

	// MaxRepetitions is the largest Request.Attempt; more are passed on as so many.
	MaxRepetitions = 99
)

// String returns the level as it stands on the wire, such as "sheddable_plus".
func (c Criticality) String() string {
	switch {
	case c <= Sheddable:
		return "sheddable"
	case c == SheddablePlus:
		return "sheddable_plus"
	case c >= CriticalPlus:
		return "critical_plus"
	default:
		return "critical"
	}
}

// ParseCriticality reads what String writes. Of anything else it returns Critical and false.
func ParseCriticality(s string) (Criticality, bool) {
	switch s {
	case "sheddable":
		return Sheddable, true
	case "sheddable_plus":
		return SheddablePlus, true
	case "critical":
		return Critical, true
	case "critical_plus":
		return CriticalPlus, true
	}
	return Critical, false
}

// MarshalText implements encoding.TextMarshaler.
func (c Criticality) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Request is what a call takes along on its whole way through the services, besides its deadline.
type Request struct {
	Criticality Criticality
	// Tenant is on whose behalf it is made, for quotas: 1 to 64 bytes of letters, digits, ".", "_" and "-". Empty: nobody's.
	Tenant string
	// Attempt is how often it has been tried before, here or further out.
	Attempt int
}

// ParseRequest reads the values that came with a call, each empty if it did not. What cannot be read counts as absent.
func ParseRequest(criticality, tenant, attempt string) Request {
	r := Request{}
	if criticality != "" {
		r.Criticality, _ = ParseCriticality(criticality)
	}
	if ValidTenant(tenant) {
		r.Tenant = tenant
	}
	if attempt != "" && len(attempt) <= 2 {
		if n, err := strconv.ParseUint(attempt, 10, 8); err == nil {
			r.Attempt = int(n)
		}
	}
	return r
}

// ValidTenant reports whether s can be a Tenant.
func ValidTenant(s string) bool {
	if s == "" || len(s) > maxTenant {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// clean returns r with what is out of bounds as if it were absent.
func (r Request) clean() Request {
	r.Criticality = min(max(r.Criticality, Sheddable), CriticalPlus)
	r.Attempt = min(max(r.Attempt, 0), MaxRepetitions)
	if !ValidTenant(r.Tenant) {
		r.Tenant = ""
	}
	return r
}

// facts is a context with a Request in it; a context of its own, so that it is one allocation.
type facts struct {
	context.Context //nolint:containedctx // it is one
	request         Request
	incoming        bool // of a request being served
	chosen          bool // the criticality was chosen by WithCriticality, or came with the request
}

type factsKey struct{}

// Value implements context.Context.
func (f *facts) Value(key any) any {
	if key == (factsKey{}) {
		return f
	}
	return f.Context.Value(key)
}

func factsOf(ctx context.Context) *facts {
	f, _ := ctx.Value(factsKey{}).(*facts)
	return f
}

// WithRequest marks ctx as that of a request being served, with what came with it. Calls made with it know that their
// deadline is inherited (see [Deadline]), and take the rest along. Servers call it.
func WithRequest(ctx context.Context, r Request) context.Context {
	return &facts{Context: ctx, request: r.clean(), incoming: true, chosen: true}
}

// WithIncoming is WithRequest of a request that came with nothing.
func WithIncoming(ctx context.Context) context.Context { return WithRequest(ctx, Request{}) }

// RequestOf returns what calls made with ctx take along; incoming: ctx is that of a request being served.
func RequestOf(ctx context.Context) (r Request, incoming bool) {
	if f := factsOf(ctx); f != nil {
		return f.request, f.incoming
	}
	return Request{}, false
}

// Incoming reports whether ctx comes from a request being served.
func Incoming(ctx context.Context) bool {
	f := factsOf(ctx)
	return f != nil && f.incoming
}

// WithCriticality returns a context whose calls have level c. Within a request being served it can lower the level
// that the request came with, and not raise it: otherwise everybody would.
func WithCriticality(ctx context.Context, c Criticality) context.Context {
	f := facts{Context: ctx, request: Request{Criticality: c}, chosen: true}
	if old := factsOf(ctx); old != nil {
		f.request, f.incoming = old.request, old.incoming
		if f.request.Criticality = c; old.incoming {
			f.request.Criticality = min(c, old.request.Criticality)
		}
	}
	f.request = f.request.clean()
	return &f
}

// CriticalityOf returns the level of calls made with ctx, and of the request being served with it.
func CriticalityOf(ctx context.Context) Criticality {
	r, _ := RequestOf(ctx)
	return r.Criticality
}

// WithTenant returns a context whose calls are made on behalf of tenant. One that is not valid counts as none.
func WithTenant(ctx context.Context, tenant string) context.Context {
	f := facts{Context: ctx}
	if old := factsOf(ctx); old != nil {
		f.request, f.incoming, f.chosen = old.request, old.incoming, old.chosen
	}
	f.request.Tenant = tenant
	f.request = f.request.clean()
	return &f
}

// TenantOf returns on whose behalf calls with ctx are made, and the request being served with it came; "" if nobody's.
func TenantOf(ctx context.Context) string {
	r, _ := RequestOf(ctx)
	return r.Tenant
}

// Outgoing returns what a call made with ctx takes along, given the level that its method was declared to have
// (Critical if none was): what was chosen for the context wins, but within a request being served the lower one does.
func Outgoing(ctx context.Context, declared Criticality) (r Request, incoming bool) {
	f := factsOf(ctx)
	switch {
	case f == nil:
		return Request{Criticality: declared}, false
	case f.incoming:
		r = f.request
		if declared < Critical { // not declared at all is Critical, too
			r.Criticality = min(r.Criticality, declared)
		}
	case f.chosen:
		r = f.request
	default:
		r = f.request
		r.Criticality = declared
	}
	return r, f.incoming
}
