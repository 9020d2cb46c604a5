// Package rest serves and calls HTTP with the behaviour that a service needs to stay up.
//
// # Server
//
// [Wrap] takes any [http.Handler] (net/http, Gin, Echo) and returns a [Handler] that adds, around it: a deadline
// that the caller may shorten with the header X-Request-Timeout-Ms; recovery of panics; a limit on request bodies;
// answers to errors as application/problem+json (RFC 9457); "Connection: close" and a failing health path while it
// drains. [NewServer] is the same behind a listener, as a lifecycle component with limits on slow clients and
// a shutdown that is bounded and loses no request.
//
// # Client
//
// [Transport] is an [http.RoundTripper] for URLs such as http://inventory/path, where the host is the name of a
// service in a registry. It balances over the service's instances and tries another one when that is safe: always
// when the request provably never reached an instance, and otherwise for the methods that HTTP declares safe or
// idempotent (RFC 9110, section 9.2) and for requests with an Idempotency-Key header, unless [ClientConfig] or a live
// policy says otherwise. A 503 by which a busy instance says that it has not begun (problem reason SHED) is tried once
// elsewhere, whatever the request; a 429 is the caller's own business.
//
// A request that only asks (GET, HEAD, OPTIONS, TRACE) and has not been answered when 19 in 20 of its kind are is sent to a
// second instance as well. The first answer is the caller's; the other attempt is cancelled, and over when RoundTrip
// returns. Upgrades and event streams are not hedged, nor is what has a body that has not been read to its end.
//
// What a request inherits from the one being served (resilience.WithRequest) goes along: X-Criticality, X-Tenant and
// X-Attempt, each only if it is not the default. The context alone decides: what a request's own Header has under
// these names is replaced, so that a service which copies headers does not pass on what nobody has checked.
//
// # What is provable
//
// A request counts as unsent when no connection to the instance came about, or when not one byte of it was
// handed to the kernel on the connection it got. As soon as one byte was, the request may have run: an idle
// keep-alive connection that the server closes at the very moment looks the same as a server that read the
// request, did its work and died before it answered. So such a request is repeated only if its method or its
// Idempotency-Key says that this does no harm. A server avoids the case by announcing the end: it drains, and
// answers "Connection: close", before it closes anything.
//
// An answer counts as broken, and its request as one that may have run, until it is complete, as far as the caller has seen
// nothing of it: answers of up to 64 KiB to requests that may run twice are read whole first. One that does not say how long it
// is gets 25 ms for that; then it goes on as it comes.
//
// One retry is not ours: net/http repeats a request without a body on another connection to the same instance when a reused
// connection breaks. If nothing was written, that is as if it had not begun. If something was, it may do so once where the
// request may run twice, which is not counted in the budget, and not at all where it may not, whatever the method and key.
package rest
