// Package agent is the platform's end of the agents: what each process of a system is told to suffer on purpose, and what it
// says of itself.
//
// The platform listens on a unix socket and names it to each process it starts, in HOLDFAST_AGENT. A process that is
// Holdfast's connects, says who it is, and follows: it puts each plan in force that it is sent, and says so. The messages are
// those of package internal/fault, one JSON object a line.
//
// Two things hold whatever happens. A plan is void when its connection ends, so nothing stays broken when the platform
// dies. And a process that does not read, because it is frozen, holds up nobody but those who wait for it, who give up.
package agent
