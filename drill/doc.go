// Package drill breaks a running system on purpose, with load on it, and says with numbers whether its users would have
// noticed.
package drill
