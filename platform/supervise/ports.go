//go:build unix

package supervise

// Addresses returns one loopback host:port for each name, the same ones every time for the same
// file: what is in the file is kept, missing names get free ports, and the file is replaced
// atomically before Addresses returns. Only one process may use a file at a time; New's lock on
// the data directory sees to that.
func Addresses(file string, names ...string) (map[string]string, error) { return nil, errTodo }
