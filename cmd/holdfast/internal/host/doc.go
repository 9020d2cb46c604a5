// Package host runs one system on this machine: it is what `holdfast up` does, without the terminal.
//
// It puts the parts of the platform together and adds nothing of its own to them: the system file (platform/system)
// says what to run, platform/supervise runs it, platform/edge listens for its users, and platform/control answers
// whoever asks. Here is the order in which that happens, and who waits for whom:
//
//	New    control address, lock of the data directory, edge addresses    before anything is built: what is taken is said at once
//	Run    control API and edges serve (503 until there is an instance)
//	       go build   and   control members                                at the same time
//	       services by waves, each wave when all before it are ready
//	       ready
//	stop   faults are mended, then edges, then services, last wave first, then control members, then the control API, so that
//	       whoever asked for the end can watch it
package host
