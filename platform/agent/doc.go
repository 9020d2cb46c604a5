// Package agent is the platform's end of the agents: what each process of a system is told to suffer, and what it says of itself.
package agent
