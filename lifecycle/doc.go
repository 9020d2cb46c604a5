// Package lifecycle starts the parts of a service, keeps them running and stops them without losing work.
//
// A [Component] is anything long-lived: a server, an announcement in the registry, a consumer. [Run] starts components in
// order, each after the one before is ready, and stops them in reverse. Stopping is a sequence:
//
//	ctx done, or a component returned
//	     │
//	     ▼
//	Drain of all components        tell others: registry, health checks; keep serving
//	     │  DrainDelay             until those others can have noticed
//	     ▼
//	cancel and join, last first    finish what is in flight
//	     │  StopTimeout            after nine tenths of it, all that are left are cancelled at once
//	     ▼
//	Run returns; its error names every component that failed or did not stop
//
// A [Supervisor] is the component for a service's own goroutines: it restarts those that fail, with backoff, and contains
// their panics.
package lifecycle
