package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/internal/thread"
	"github.com/holdfast-go/holdfast/platform/netns"
)

// The ports of every member, in its own namespace.
const (
	peersPort   = "7000"
	clientsPort = "7001"
)

// namespaces is a network of machines: each member has a network namespace of its own, and what is cut are packets. The
// clients, which are in this process, are cut off from nobody.
type namespaces struct {
	net   *netns.Network
	hosts []string
	// A child is born in the namespace of the thread that forks it, and dies with that thread: one forks them all.
	forks chan func()
}

func newNamespaces(members int) (*namespaces, error) {
	n, err := netns.New(netns.Config{})
	if err != nil {
		return nil, err
	}
	w := &namespaces{net: n, forks: make(chan func())}
	for i := range members {
		addr, err := n.Addr(name(i))
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		w.hosts = append(w.hosts, addr.String())
	}
	thread.Go(func() {
		for fork := range w.forks {
			fork()
		}
	})
	return w, nil
}

func (w *namespaces) listen(member int) (peers, clients string) {
	return net.JoinHostPort(w.hosts[member], peersPort), net.JoinHostPort(w.hosts[member], clientsPort)
}

func (w *namespaces) addr(_, to int) string { return net.JoinHostPort(w.hosts[to], peersPort) }

func (w *namespaces) start(member int, cmd *exec.Cmd) error {
	_, ns, err := w.net.Place(name(member))
	if err != nil {
		return err
	}
	done := make(chan error)
	w.forks <- func() { done <- startIn(ns, cmd) }
	return <-done
}

// startIn is called on the thread that forks.
func startIn(ns *os.File, cmd *exec.Cmd) error {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the namespace: %w", err)
	}
	return cmd.Start()
}

func (w *namespaces) cut(a, b []int, oneWay bool) {
	w.set("cut"+strconv.FormatInt(time.Now().UnixNano(), 10), names(a), names(b), fault.Shape{CutOut: true, CutIn: !oneWay})
}

func (w *namespaces) disturb(loss float64, delay time.Duration) {
	all := w.all()
	w.set("lossy", all, all, fault.Shape{Loss: loss, Jitter: delay})
}

func (w *namespaces) sever(a, b int) {
	w.set("severed"+strconv.FormatInt(time.Now().UnixNano(), 10), names([]int{a}), names([]int{b}), fault.Shape{Reset: true})
}

func (w *namespaces) heal() {
	for _, name := range w.net.Switch().Names() {
		if err := w.net.Switch().Set(name); err != nil {
			panic(err) // there is nothing to be wrong with no rules
		}
	}
}

func (w *namespaces) set(name string, from, to []string, s fault.Shape) {
	if err := w.net.Switch().Set(name, netns.Rules(from, to, s)...); err != nil {
		panic(err) // rules of this program's own
	}
}

func (w *namespaces) all() []string {
	members := make([]int, len(w.hosts))
	for i := range members {
		members[i] = i
	}
	return names(members)
}

func names(members []int) []string {
	out := make([]string, len(members))
	for i, m := range members {
		out[i] = name(m)
	}
	return out
}

// Close takes the network away; the members are gone.
func (w *namespaces) Close() {
	close(w.forks)
	_ = w.net.Close() // its devices are gone with this process at the latest
}
