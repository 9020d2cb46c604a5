package holdfast

import (
	"crypto/tls"
	"net"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

type addr string

func (a addr) Network() string { return "tcp" }
func (a addr) String() string  { return string(a) }

func TestAdvertised(t *testing.T) {
	for _, test := range []struct{ listener, host, want string }{
		{"127.0.0.1:7001", "", "127.0.0.1:7001"},
		{"[::1]:7001", "", "[::1]:7001"},
		{"127.0.0.1:7001", "orders.example.org", "orders.example.org:7001"},
		{"[::]:7001", "10.1.2.3", "10.1.2.3:7001"},
		{"0.0.0.0:7001", "fd00::1", "[fd00::1]:7001"},
	} {
		if got, err := advertised(addr(test.listener), test.host); err != nil || got != test.want {
			t.Errorf("%s as %q: %s, %v; want %s", test.listener, test.host, got, err, test.want)
		}
	}
	if _, err := advertised(addr("pipe"), ""); err == nil {
		t.Error("a listener that has no port")
	}
	for _, host := range []string{"0.0.0.0", "::", "0:0::0"} {
		if got, err := advertised(addr("127.0.0.1:7001"), host); err == nil {
			t.Errorf("as %q: %s, where everybody reaches itself", host, got)
		}
	}
	got, err := advertised(addr("[::]:7001"), "")
	if err == nil {
		host, port, _ := net.SplitHostPort(got)
		if ip := net.ParseIP(host); ip == nil || ip.IsLoopback() || ip.IsUnspecified() || port != "7001" {
			t.Errorf("all addresses as %s", got)
		}
	}
}

func TestReachable(t *testing.T) {
	network := func(cidr string) net.Addr {
		ip, n, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		n.IP = ip
		return n
	}
	for _, test := range []struct {
		cidrs []string
		want  string
	}{
		{nil, "<nil>"},
		{[]string{"127.0.0.1/8", "::1/128", "fe80::1/64"}, "<nil>"},
		{[]string{"127.0.0.1/8", "fd00::1/64", "10.0.0.1/8", "10.0.0.2/8"}, "10.0.0.1"},
		{[]string{"127.0.0.1/8", "fd00::1/64"}, "fd00::1"},
	} {
		var addrs []net.Addr
		for _, c := range test.cidrs {
			addrs = append(addrs, network(c))
		}
		if got := reachable(addrs).String(); got != test.want {
			t.Errorf("%v: %s, want %s", test.cidrs, got, test.want)
		}
	}
}

// What code says of the registry's etcd holds for the live settings beside it: a cluster whose TLS and credentials are in
// the client cannot be reached otherwise.
func TestLiveSettingsOfTheRegistryUseItsClientAndPrefix(t *testing.T) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"10.255.255.1:1"}, TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	own := func(c *Config) { c.Etcd.Client, c.Etcd.Prefix = client, "/team/services/" }
	svc := New("alpha", own, func(c *Config) { c.Settings.Registry = "etcd://10.255.255.1:1" })
	if len(svc.problems) > 0 || svc.Live() == nil {
		t.Errorf("problems %v, live settings %v", svc.problems, svc.Live())
	}
	if err := svc.Close(); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		registry, config, prefix string
		client                   bool
	}{
		{"etcd://10.255.255.1:1", "", "team/services-config", true},
		{"etcd://10.255.255.1:1/other", "", "other-config", true},
		{"etcd://10.255.255.1:1", "etcd://127.0.0.1:1", "", false}, // is said to be elsewhere
	} {
		c := Config{Settings: Settings{Registry: test.registry, Config: test.config}}
		own(&c)
		got, err := liveEtcd(&c, c.configURL(), test.config == "")
		if err != nil || got.Prefix != test.prefix || (got.Client == client) != test.client {
			t.Errorf("%+v: prefix %q, client %v, %v", test, got.Prefix, got.Client == client, err)
		}
	}
}
