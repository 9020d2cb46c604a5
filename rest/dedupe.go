package rest

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/resilience"
)

// HeaderReplayed is "true" in an answer that is that of an earlier request with the same Idempotency-Key.
const HeaderReplayed = "Idempotent-Replayed"

// DedupeConfig configures Deduplicate. The zero value works.
type DedupeConfig struct {
	// Required makes a request without a key a 400.
	Required bool
	// Caller returns whose keys those of a request are; see idempotency.Key.Caller. nil: the tenant of the request, which a
	// caller may claim as it likes. Where callers must not be given each other's answers, take it from what authentication
	// has found out, and not from a token, which a repetition may bring another one of.
	Caller func(*http.Request) string
	// MaxBodyBytes bounds the body of a request with a key, which is read whole before it is handled. 0: 1 MiB, or less if
	// the server's own limit is less. More is answered 413.
	MaxBodyBytes int64
}

// Deduplicate returns a middleware: of the requests with one Idempotency-Key one is handled, and all get its answer with
// status, header and body, in the repetitions with HeaderReplayed. Read package idempotency for what that promises,
// and what not. It stands inside of authentication, in front of the handlers of POST, PATCH, PUT and DELETE; requests with
// another method, and requests without a key, are handled each.
//
// A key that is no key is answered 400, one that was used with another request (method, path, query, Content-Type or body
// differ) 422, and one whose request is under way elsewhere 409 with Retry-After, when there is no time to wait. A
// repetition of a request whose answer is larger than the ledger keeps, or was flushed or had trailers, is answered 409.
// Answers that say nothing about the request give the key back: 5xx, 429, 401, 403, and all that idempotency.Final
// does not name or that say when to come back.
//
// A handler has to write the status, or something of the body: one that returns without when its context has ended is
// taken for one that gave up, its key is given back, and a repetition runs. So is one whose answer is a 200 and nothing
// more, which routers such as Gin write for handlers that wrote nothing; 204 is an answer.
//
// Answers are held back until the handler returns, but for those that grow too large to be kept or are flushed.
func Deduplicate(ledger *idempotency.Ledger, cfg DedupeConfig) func(http.Handler) http.Handler {
	d := &dedupe{ledger: ledger, cfg: cfg}
	if d.cfg.Caller == nil {
		d.cfg.Caller = func(r *http.Request) string { return resilience.TenantOf(r.Context()) }
	}
	if d.cfg.MaxBodyBytes <= 0 {
		d.cfg.MaxBodyBytes = DefaultMaxBodyBytes
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.serve(w, r, next) })
	}
}

type dedupe struct {
	ledger *idempotency.Ledger
	cfg    DedupeConfig
}

var errKeyMissing = failure.New(failure.InvalidArgument, "this request needs an Idempotency-Key header").
	WithReason("IDEMPOTENCY_KEY_MISSING", idempotency.Domain)

func (d *dedupe) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	values := r.Header[HeaderIdempotencyKey]
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		next.ServeHTTP(w, r)
		return
	}
	switch {
	case len(values) == 0 && d.cfg.Required:
		Error(w, r, errKeyMissing)
		return
	case len(values) == 0:
		next.ServeHTTP(w, r)
		return
	}
	key, ok := idempotency.ParseKey(values[0])
	if !ok || len(values) > 1 {
		Error(w, r, idempotency.ErrKey)
		return
	}
	body, err := d.body(r)
	if err != nil {
		Error(w, r, err)
		return
	}
	path := r.URL.EscapedPath()
	print := idempotency.FingerprintOf([]byte(r.URL.RawQuery), []byte(r.Header.Get("Content-Type")), body)
	claim, err := d.ledger.Begin(r.Context(), idempotency.Key{Method: r.Method + " " + path, Caller: d.cfg.Caller(r), Key: key}, print)
	switch {
	case errors.Is(err, idempotency.ErrReused):
		ErrorStatus(w, r, http.StatusUnprocessableEntity, err)
		return
	case err != nil:
		Error(w, r, err)
		return
	}
	if result, ok := claim.Replayed(); ok {
		a, err := parseAnswer(result)
		if err != nil {
			Error(w, r, failure.Wrap(err, failure.DataLoss, "the answer to an earlier request cannot be read"))
			return
		}
		w.Header().Set(HeaderReplayed, "true")
		a.write(w)
		return
	}
	d.handle(w, r, next, claim)
}

// handle runs a request that is the first with its key.
func (d *dedupe) handle(w http.ResponseWriter, r *http.Request, next http.Handler, claim *idempotency.Claim) {
	ctx := r.Context()
	defer claim.Release(ctx)
	hold := newHoldingWriter(w, d.ledger.MaxResult())
	next.ServeHTTP(hold, r)
	if ctx.Err() != nil && hold.unsaid() {
		return // nothing was answered, and what stands around us says why
	}
	if !hold.passed && hold.status == 0 {
		hold.WriteHeader(http.StatusOK)
	}
	a := answer{status: hold.status, header: hold.kept(), body: hold.body.Bytes()}
	// That an answer was not kept has been logged; it is true all the same.
	switch {
	case hold.passed && hold.status < http.StatusBadRequest:
		_ = claim.FinishUnkept(ctx)
	case !hold.passed && a.final():
		_ = claim.Finish(ctx, a.encode())
	default:
		claim.Release(ctx) // before anybody is told to come back
	}
	hold.pass()
}

// body reads the body of r whole, and puts it back for the handler.
func (d *dedupe) body(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, d.cfg.MaxBodyBytes))
	if err != nil {
		return nil, readError(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(data)) // the server closes its own
	return data, nil
}
