package netns

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The networks that are tried: 10.200.0.0/16 and those after it, which few use.
const (
	firstSubnet = 200
	lastSubnet  = 250
	maxGroups   = 254
	maxNumber   = 254
)

// subnet is one of those that are tried.
func subnet(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n), 0, 0}), 16)
}

// Subnet is the network that an address of an instance is in.
func Subnet(addr netip.Addr) netip.Prefix {
	p, _ := addr.Prefix(16) // any IPv4 address has one
	return p
}

// number is the n of subnet, 0 if p is none of those.
func number(p netip.Prefix) int {
	a := p.Addr().As4()
	if n := int(a[1]); n >= firstSubnet && n <= lastSubnet && p == subnet(n) {
		return n
	}
	return 0
}

// free are those of the subnets that none of the routes is about. One about everything, or half of it, as those of some
// VPNs, is about none in particular: the more particular one wins.
func free(routes []netip.Prefix) (all []netip.Prefix) {
	for n := firstSubnet; n <= lastSubnet; n++ {
		taken := false
		for _, r := range routes {
			taken = taken || r.Bits() > 1 && r.Overlaps(subnet(n))
		}
		if !taken {
			all = append(all, subnet(n))
		}
	}
	return all
}

// book assigns addresses: all of a service beside each other, so that people see by an address whose it is. The address of
// an ID does not change. Control members, if they are the first that are asked for, have the same ones in every run.
type book struct {
	subnet netip.Prefix
	groups map[string]byte
	addrs  map[string]netip.Addr
	used   map[netip.Addr]bool
}

func newBook(p netip.Prefix) *book {
	return &book{subnet: p, groups: make(map[string]byte), addrs: make(map[string]netip.Addr), used: make(map[netip.Addr]bool)}
}

// platform is the address of the platform itself.
func (b *book) platform() netip.Addr { return b.at(0, 1) }

func (b *book) at(group, n byte) netip.Addr {
	a := b.subnet.Addr().As4()
	return netip.AddrFrom4([4]byte{a[0], a[1], group, n})
}

func (b *book) addr(id string) (netip.Addr, error) {
	if a, ok := b.addrs[id]; ok {
		return a, nil
	}
	service, n := split(id)
	group, ok := b.groups[service]
	if !ok {
		if len(b.groups) == maxGroups {
			return netip.Addr{}, fmt.Errorf("no address for %s: %s has room for %d services", id, b.subnet, maxGroups)
		}
		group = byte(len(b.groups) + 1)
		b.groups[service] = group
	}
	for i := range maxNumber { // its own number, if it has one that fits, or else the next
		a := b.at(group, byte((n+maxNumber-1+i)%maxNumber+1))
		if !b.used[a] {
			b.addrs[id], b.used[a] = a, true
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address for %s: there are %d instances", id, maxNumber)
}

// split takes the number of an instance from its ID; 1 if it has none.
func split(id string) (service string, n int) {
	at := strings.LastIndexByte(id, '-')
	if at < 0 {
		return id, 1
	}
	n, err := strconv.Atoi(id[at+1:])
	if err != nil || n < 1 || n > maxNumber {
		return id[:at], 1
	}
	return id[:at], n
}
