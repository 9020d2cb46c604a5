// Package breakage keeps what is broken on purpose in a running system: which faults are in force, for how long yet, and
// who suffers what of them.
//
// # Leases
//
// Every fault has a lease. It ends when it is mended, when nobody has renewed its lease in time, and when the system
// stops. So whoever breaks something need not be trusted to come back: a drill that is killed leaves nothing broken for longer
// than the leases that it held.
//
// # From faults to what a process suffers
//
// Faults overlap: two drills, a partition of an instance that is slow already. So nothing is done when a fault begins and undone
// when it ends. What each process suffers is a pure function of all faults in force and of the system as it is (compile),
// and what changes when a fault begins or ends, when a process is started again or has another address, is the difference
// between what it suffers and what it should:
//
//	faults in force  ┐
//	                 ├─ compile ─▶ Treatment of each process ─▶ one worker a process does what has changed
//	World            ┘
//
// Add faults in any order and end them in any other: when none is left, every Treatment is empty.
//
// # What fails
//
//	a process is frozen      it takes note of its plan when it goes on; nobody waits for it, and no other process does
//	a process is restarted   it suffers what its name suffers: the plan is there before it asks, signals are sent again
//	an instance is gone      its faults stay in force for the others, and for it when it comes back
//	a process is foreign     what needs its help is refused at once; signals reach it, as does its network in a namespace
//	whoever asked is gone    the lease runs out
//	the platform stops       everything is mended before the first process is told to end
//	the platform is killed   its guardian kills the processes; plans are void when the connection to the agent ends
package breakage
