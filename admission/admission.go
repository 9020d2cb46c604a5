// Package admission decides which calls a server begins with, so that a busy one says no early and for little, instead of
// saying nothing in time to anybody.
package admission
