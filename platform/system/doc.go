// Package system is the system file: what a system consists of, parsed strictly and validated
// as a whole.
//
// Parse reports every problem at once, each with its line and column and, where one can be
// guessed, what was meant. The package does no I/O apart from Load.
package system
