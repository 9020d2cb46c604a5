// Package supervise runs the processes of one system on this machine: it builds them, starts
// them, brings them back when they die, scales, freezes and replaces them, and takes all of
// them along when it ends itself, however it ends.
//
// It is for Linux and macOS.
package supervise
