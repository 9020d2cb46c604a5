//go:build unix

package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/internal/diskfile"
	"github.com/holdfast-go/holdfast/platform/netns"
	"github.com/holdfast-go/holdfast/platform/supervise"
	"github.com/holdfast-go/holdfast/platform/system"
)

// maxAddresses bounds the file with the addresses of control members.
const maxAddresses = 1 << 20

// The ports of control members, each of which has all ports for itself in a network of namespaces.
var networkPorts = map[string]string{"client": "2379", "peer": "2380", "queue": "4222", "queue peer": "6222"}

// addressesFile is where the addresses of control members are remembered: etcd's peers keep them.
func addressesFile(data string) string { return filepath.Join(data, "control", "addresses.json") }

// openNetwork makes the network of namespaces that a system has with --netns, the same one as in the last run.
func openNetwork(cfg Config) (*netns.Network, error) {
	if err := checkReachable(cfg.System); err != nil {
		return nil, err
	}
	addrs, err := readAddresses(addressesFile(cfg.Data))
	if err != nil {
		return nil, err
	}
	var subnet netip.Prefix
	for _, addr := range addrs {
		if addr.Addr().IsLoopback() {
			return nil, fmt.Errorf("the system in %s was made without --netns, and its control members keep their addresses; use another directory (--data)", cfg.Data)
		}
		subnet = netns.Subnet(addr.Addr())
	}
	n, err := netns.New(netns.Config{Subnet: subnet, Logger: cfg.Logger})
	if errors.Is(err, netns.ErrTaken) && subnet.IsValid() {
		return nil, &TakenError{fmt.Sprintf("the network of the system in %s, %s, is used by another system; stop that, or choose another directory with --data",
			cfg.Data, subnet), err}
	}
	return n, err
}

// checkReachable refuses engines of others: an instance in a namespace reaches the other instances and the platform, and
// nobody else.
func checkReachable(sys *system.System) error {
	for what, engine := range map[string]string{"registry": sys.Registry, "queue": sys.Queue} {
		if engine != "" && engine != system.NoQueue && !strings.HasPrefix(engine, "static:") {
			return fmt.Errorf("--netns: instances in namespaces do not reach the %s %s, which is outside; leave it to the control members, or leave --netns out",
				what, redacted(engine))
		}
	}
	return nil
}

// redacted is an URL without what is secret in it.
func redacted(engine string) string {
	u, err := url.Parse(engine)
	if err != nil {
		scheme, _, _ := strings.Cut(engine, ":")
		return scheme + ":…"
	}
	return u.Redacted()
}

// readAddresses returns nothing for a file that does not exist.
func readAddresses(file string) (map[string]netip.AddrPort, error) {
	b, err := diskfile.Read(file, maxAddresses)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	addrs := make(map[string]netip.AddrPort)
	if err == nil {
		err = json.Unmarshal(b, &addrs)
	}
	if err != nil {
		return nil, fmt.Errorf("read addresses of control members: %w", err)
	}
	return addrs, nil
}

// memberAddresses are those of control members, by ID and what for: the same ones in every run.
func memberAddresses(data string, network *netns.Network, ids []string) (map[string]string, error) {
	var names []string
	for _, id := range ids {
		for what := range networkPorts {
			names = append(names, id+" "+what)
		}
	}
	slices.Sort(names)
	file := addressesFile(data)
	if network == nil {
		addrs, err := supervise.Addresses(file, names...)
		for _, addr := range addrs {
			if !loopback(addr) {
				return nil, fmt.Errorf("the system in %s was made with --netns, and its control members keep their addresses; use that, or another directory (--data)", data)
			}
		}
		return addrs, err
	}
	addrs := make(map[string]string, len(names))
	for _, id := range ids {
		ip, err := network.Addr(id)
		if err != nil {
			return nil, err
		}
		for what, port := range networkPorts {
			addrs[id+" "+what] = net.JoinHostPort(ip.String(), port)
		}
	}
	b, err := json.MarshalIndent(addrs, "", "  ")
	if err != nil {
		return nil, err
	}
	return addrs, diskfile.Replace(file, append(b, '\n'))
}

// nameServices gives services their addresses in the order of the system file, so that they are the same in every run.
func nameServices(network *netns.Network, services []system.Service) error {
	for _, s := range services {
		if _, err := network.Addr(s.Name + "-1"); err != nil {
			return err
		}
	}
	return nil
}
