// Package resilience decides how a call gets its answer although instances fail: how long it may take, which
// failures are tried again, when, and when to give up. It only decides. It has no goroutine, timer or I/O, takes the
// time and randomness as arguments, and allocates nothing for a call that goes well; the rpc and rest clients act on
// what it says.
//
// A [Call] is one call: it has a total deadline ([Deadline]) and plans attempts inside it. The [Outcome] table says what
// each end of an attempt means. A [Budget] bounds the attempts beyond the first of all calls to one target, so that
// retries cannot turn a failure into an overload. A [Latency] is the observed latency of one method, from which the
// timeout of an attempt comes. A [CallError] says what happened, if the call failed.
//
// # Composition
//
// Around one unary call, outermost first: total deadline, attempt loop (budget, timeout of the attempt), transport,
// choice of an instance (package balance). What is between an attempt and its instance sees every attempt; what is
// around the loop sees the call once. Only one layer should retry: a transport with retries of its own multiplies.
package resilience
