// Package wallclock lets the wall clocks of the Go programs of a system be wrong, each by itself, while they run.
//
// A process has no clock of its own that could be moved, and moving the machine's would move everybody's. So the programs
// are built with another time.Now ([Overlay], for go build -overlay), which adds what stands in a file: 8 bytes for each
// instance, mapped into its memory, which [Clocks] writes. What measures time is not moved: monotonic readings, timers, and with
// them time.Since and deadlines go on as if nothing was, as they do when somebody sets the clock of a machine.
//
// It reaches Go programs that the platform builds, Holdfast's or not, and nothing else: what is given as a command, and the control
// members, keep the right time.
package wallclock
