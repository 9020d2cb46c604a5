//go:build unix

package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/system"
)

// TakenError is an address or a directory that somebody else uses. Its message is one line that says who, if that can be
// found out, and what to do.
type TakenError struct {
	Message string
	Err     error
}

func (t *TakenError) Error() string { return t.Message }

func (t *TakenError) Unwrap() error { return t.Err }

// explainControl says who holds the control API's address.
func explainControl(ctx context.Context, addr string, err error) error {
	if errors.Is(err, control.ErrBeyond) {
		_, port, _ := net.SplitHostPort(addr)
		return fmt.Errorf("--control %s is beyond this machine, where the control API takes TLS and a token: add --control-cert FILE and --control-key FILE (PEM); or keep it at 127.0.0.1:%s and reach it by \"ssh -L %s:127.0.0.1:%s\"",
			addr, port, port, port)
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c := control.NewClient(addr)
	defer c.Close()
	info, asked := c.System(ctx)
	if asked != nil {
		return &TakenError{fmt.Sprintf("control address %s is taken by another program%s; choose another one with --control", addr, lsof(addr)), err}
	}
	return &TakenError{fmt.Sprintf("the system %q runs at %s already (pid %d, from %s); stop it with \"holdfast down\", or choose another address with --control",
		info.System, addr, info.PID, info.Dir), err}
}

// explainData says that another `holdfast up` uses the data directory, which only happens if it has another control
// address.
func explainData(err error) error {
	if !errors.Is(err, failure.AlreadyExists) {
		return err
	}
	return &TakenError{failure.From(err).Message + ", which runs a system on it already; stop that, or choose another directory with --data", err}
}

// explainEdge says which service's address cannot be listened on, and where it is set. control is where the control API listens.
func explainEdge(s system.Service, control string, insecure bool, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		if !insecure && !loopback(s.HTTP) {
			return fmt.Errorf("service %s is to listen on %s, beyond this machine and without TLS; set HOLDFAST_INSECURE=true if that is meant", s.Name, s.HTTP)
		}
		return fmt.Errorf("service %s: %w", s.Name, err)
	}
	if sameAddr(s.HTTP, control) {
		return &TakenError{fmt.Sprintf("%s, where service %s is to listen, is the address of the control API of this holdfast up; change http: of %s in the system file, or choose another control address with --control",
			s.HTTP, s.Name, s.Name), err}
	}
	return &TakenError{fmt.Sprintf("%s, where service %s is to listen, is taken by another program%s; stop that, or change http: of %s in the system file",
		s.HTTP, s.Name, lsof(s.HTTP), s.Name), err}
}

// sameAddr reports whether nobody can listen at a while somebody listens at b.
func sameAddr(a, b string) bool {
	at, err := net.ResolveTCPAddr("tcp", a)
	if err != nil {
		return false
	}
	other, err := net.ResolveTCPAddr("tcp", b)
	all := func(ip net.IP) bool { return ip == nil || ip.IsUnspecified() }
	return err == nil && at.Port == other.Port && (all(at.IP) || all(other.IP) || at.IP.Equal(other.IP))
}

func loopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// lsof tells how to find out who listens at addr.
func lsof(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (\"lsof -i :%s\" shows which)", port)
}
