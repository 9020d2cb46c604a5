// Package drill breaks a running system on purpose, with load on it, and says with numbers whether its users would have
// noticed.
//
// A [Scenario] says what users do, what is broken meanwhile, what is promised, and what has to hold whatever happens. It is a
// file ([Parse], [LoadDir]), part of the set that every system has ([Standard]), faults drawn from a seed ([Draw]), or a value
// that a program fills in, whose invariants may be Go functions. [Run] does it to a system that it reaches by its control
// API, and returns a [report.Report]; the command "holdfast drill" is a thin shell around it.
//
// What is broken is mended when its time is over, when the drill ends, however it ends, and, by leases that the system keeps,
// seconds after the drill has been killed. DESIGN.md says how it is judged.
package drill
