package netns

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/bits"
	"net/netip"
	"os"
	"strings"
)

func readRoutes() ([]netip.Prefix, error) {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseRoutes(f)
}

// parseRoutes reads the kernel's table: a line of titles, then one for each route, with addresses as the machine keeps
// them, in hexadecimal.
func parseRoutes(r io.Reader) ([]netip.Prefix, error) {
	var routes []netip.Prefix
	lines := bufio.NewScanner(r)
	for first := true; lines.Scan(); first = false {
		fields := strings.Fields(lines.Text())
		if first || len(fields) < 8 {
			continue
		}
		to, err := routeAddr(fields[1])
		if err != nil {
			return nil, fmt.Errorf("routes: %w", err)
		}
		mask, err := routeAddr(fields[7])
		if err != nil {
			return nil, fmt.Errorf("routes: %w", err)
		}
		ones := bits.LeadingZeros32(^binary.BigEndian.Uint32(mask[:]))
		routes = append(routes, netip.PrefixFrom(netip.AddrFrom4(to), ones))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	return routes, nil
}

func routeAddr(s string) (addr [4]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 4 {
		return addr, fmt.Errorf("%q is no address", s)
	}
	binary.BigEndian.PutUint32(addr[:], binary.NativeEndian.Uint32(b))
	return addr, nil
}
