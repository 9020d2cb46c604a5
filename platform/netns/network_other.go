//go:build !linux

package netns

import (
	"errors"
	"net/netip"
	"os"
)

// Network is a network of namespaces. There are none on this platform.
type Network struct{ sw Switch }

// New fails: network namespaces are Linux's.
func New(Config) (*Network, error) {
	return nil, errors.New("network namespaces are Linux's; without them faults of the network are those that Holdfast's own connections can suffer")
}

// Switch is never called, since there is no Network.
func (n *Network) Switch() *Switch { return &n.sw }

// Subnet is never called, since there is no Network.
func (n *Network) Subnet() netip.Prefix { return netip.Prefix{} }

// Addr is never called, since there is no Network.
func (n *Network) Addr(string) (netip.Addr, error) { return netip.Addr{}, errors.ErrUnsupported }

// Place is never called, since there is no Network.
func (n *Network) Place(string) (netip.Addr, *os.File, error) {
	return netip.Addr{}, nil, errors.ErrUnsupported
}

// Close is never called, since there is no Network.
func (n *Network) Close() error { return nil }
