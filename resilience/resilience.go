// Package resilience decides how a call gets its answer although instances fail: how long it may take, which
// failures are tried again, when, and when to give up. It only decides. It has no goroutine, timer or I/O, takes the
// time and randomness as arguments, and allocates nothing for a call that goes well; the rpc and rest clients act on
// what it says.
//
// A [Call] is one call: it has a total deadline ([Deadline]) and plans attempts inside it, retries and hedges alike. The
// [Outcome] table says what each end of an attempt means: for what comes next, for the throttle, for the instance and for
// what is known of latencies. A [Budget] bounds the attempts beyond the first of all calls to one target, so that
// retries and hedges cannot turn a failure into an overload. A [Guard] holds back what the target could not take: by a
// [Throttle] that goes by what it refuses, and by fixed bounds if there are any. A [Latency] is the observed latency of
// one method, from which the timeout of an attempt and the delay of a hedge come. A [CallError] says what happened, if
// the call failed.
//
// What a call takes along through all services is a [Request]: how critical it is, on whose behalf it is made, and how
// often it has been tried.
//
// # Composition
//
// Around one unary call, outermost first: [Fallback] if there is one, total deadline, bulkhead, attempt loop (budget),
// throttle, rate limit, breaker, timeout of the attempt, transport, choice of an instance (package balance). What is
// between an attempt and its instance sees every attempt; what is around the loop sees the call once. Only one layer
// should retry: a transport with retries of its own multiplies.
//
// # Ejection, throttle and breaker
//
// An instance that fails is taken out by itself (ejection, package balance), and the others take its calls. A service that
// as a whole cannot keep up gets as many calls as it can deal with, and a few more to find out (throttle). Together they
// do what a circuit breaker is meant to do, without its two faults: that it cuts off healthy instances for a sick one, and
// that it knows only all or nothing. A [Breaker] can be had, for what is behind one address.
package resilience
