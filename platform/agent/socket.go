package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/internal/fault"
)

const (
	dirPattern = "holdfast-agent-*"
	socketName = "s"
	// maxPath is how long the path of a unix socket may be everywhere: 104 bytes on macOS, with the zero at its end.
	maxPath = 103
)

// listen makes a directory that only this user can enter, and listens in it.
func listen() (net.Listener, string, error) {
	sweep(os.TempDir())
	dir, err := os.MkdirTemp("", dirPattern)
	if err == nil && len(filepath.Join(dir, socketName)) > maxPath {
		_ = os.Remove(dir)
		dir, err = os.MkdirTemp("/tmp", dirPattern)
	}
	if err != nil {
		return nil, "", err
	}
	l, err := net.Listen("unix", filepath.Join(dir, socketName))
	if err != nil {
		_ = os.Remove(dir)
		return nil, "", err
	}
	return l, dir, nil
}

// sweep removes what platforms of this user that were killed have left: sockets that nobody listens on. Everybody may make
// something of that name in temp, such as a link to a directory of somebody else's.
func sweep(temp string) {
	dirs, err := filepath.Glob(filepath.Join(temp, dirPattern))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		if !ours(dir) {
			continue
		}
		c, err := net.DialTimeout("unix", filepath.Join(dir, socketName), 100*time.Millisecond)
		switch {
		case err == nil:
			c.Close()
		case errors.Is(err, syscall.ECONNREFUSED):
			_ = remove(dir)
		}
	}
}

// ours says whether dir is as listen makes it: a directory that only this user can enter, so that nobody else can change what is in
// it, with a socket.
func ours(dir string) bool {
	d, err := os.Lstat(dir)
	if err != nil || d.Mode() != os.ModeDir|0o700 {
		return false
	}
	if sys, ok := d.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Getuid() {
		return false
	}
	s, err := os.Lstat(filepath.Join(dir, socketName))
	return err == nil && s.Mode().Type() == os.ModeSocket
}

// remove removes a directory of listen's; "" is none.
func remove(dir string) error {
	if dir == "" {
		return nil
	}
	_ = os.Remove(filepath.Join(dir, socketName)) // the listener has done it already
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// isEnd says whether a process has ended the connection, or died.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// check says what is wrong with a plan, before it is known to anybody.
func check(plan fault.Plan) error {
	if err := plan.Validate(); err != nil {
		return err
	}
	b, err := json.Marshal(fault.Message{Plan: &plan})
	if err != nil {
		return err
	}
	if len(b) > fault.MaxMessage-32 { // its number comes on top
		return fmt.Errorf("larger than %d bytes", fault.MaxMessage)
	}
	return nil
}
