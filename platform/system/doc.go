// Package system is the system file: what a system consists of, parsed strictly and validated
// as a whole.
//
// Parse reports every problem at once, each with its line and column and, where one can be
// guessed, what was meant. The package does no I/O apart from Load.
//
// # Services that scale themselves
//
// A service with autoscale has as many instances as its load needs (package scale says how that is decided):
//
//	services:
//	  gateway:
//	    run: ./gateway
//	    http: 127.0.0.1:8080
//	    autoscale:
//	      min: 2                     # so that one can be missing
//	      max: 8
//	      target: {in-flight: 20}    # what each instance is to have of it; of several, the one that asks for most counts
//	      up-after: 3s               # it grows when that has been asked for all of this time
//	      down-after: 60s            # it shrinks when nothing more was asked for in all of this time
//	      tolerance: 0.1             # how far off the target nothing is done
//	      max-up: 2                  # at most to twice as many in one step
//
// min, max and target are required; the others are shown with their defaults. replicas, if given, is how many there are at the
// start, otherwise min. The targets:
//
//	in-flight: 20          calls that an instance handles or lets wait
//	limiter: 0.7           share of an instance's concurrency limit in use
//	cpu: 0.5               processors that an instance uses
//	lag: {topic: orders.placed, group: shipping, waiting: 100}
//	                       messages that wait, for each instance; group is the service's own if it is left out
//	custom: {path: /load, value: 10}
//	                       what GET http://INSTANCE/load answers, a number as text
//
// A service whose instances keep state among themselves ([holdfast.Service.Replicate]) says so, with state: replicated. It
// cannot have autoscale: its members vote, and what shrinks by itself could take a majority with it. Nor would it be faster
// with more of them, since each keeps all of it.
//
// # What a service serves
//
// serves: grpc, http, [grpc, http] or none says what the instances serve. It is for where the processes do not tell by
// themselves, as on Kubernetes; left out, it is http for a service with http: and grpc for any other.
//
// [holdfast.Service.Replicate]: https://pkg.go.dev/github.com/holdfast-go/holdfast#Service.Replicate
package system
