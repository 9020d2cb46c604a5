//go:build real && linux

package shop_test

import (
	"bytes"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Wrong use of the command line is one clear line and exit code 2, or a line for each problem of a system file; what
// is in the way of right use is one line and exit code 1.
func TestRealWrongUse(t *testing.T) {
	site := newSite(t)
	site.writeSystem(t, site.programs)
	shop := site.up(t)
	before := shop.health(t)
	const wrong, inTheWay = 2, 1

	for _, c := range []struct {
		name string
		args []string
		exit int
		says []string
	}{
		{"an unknown service", []string{"scale", "inventroy", "3"}, wrong, []string{"inventroy", "inventory"}},
		{"a service that is nothing like any", []string{"scale", "submarine", "3"}, wrong, []string{"submarine", "orders"}},
		{"no number", []string{"scale", "orders", "many"}, wrong, []string{"many"}},
		{"a negative number", []string{"scale", "--", "orders", "-1"}, wrong, []string{"-1"}},
		{"far too many", []string{"scale", "orders", "1000000"}, wrong, []string{"1000000"}},
		{"too few arguments", []string{"scale", "orders"}, wrong, []string{"scale"}},
		{"the control members", []string{"scale", "control", "1"}, wrong, []string{"system file"}},
		{"an unknown instance", []string{"kill", "orders-99"}, wrong, []string{"orders-99"}},
		{"one of several", []string{"kill", "orders"}, inTheWay | wrong, []string{"orders-1", "orders-2"}},
		{"an unknown command", []string{"pss"}, wrong, []string{"pss", "ps"}},
		{"an unknown flag", []string{"ps", "--jsn"}, wrong, []string{"jsn"}},
		{"no such file", []string{"up", filepath.Join(site.dir, "nowhere")}, wrong, []string{"nowhere"}},
		{"an address that is none", []string{"ps", "--control", "nonsense"}, wrong, []string{"nonsense"}},
		{"nobody there", []string{"ps", "--control", freeAddrs(t, 1)[0]}, inTheWay, []string{"no system is running"}},
		{"not a system there", []string{"ps", "--control", site.edge}, inTheWay, []string{site.edge}},
		{"it runs already", []string{"up", site.dir}, inTheWay, []string{"shop", "already"}},
		{
			"its data is in use",
			[]string{"up", "--control", freeAddrs(t, 1)[0], "--data", site.data, site.dir},
			inTheWay,
			[]string{site.data},
		},
		{
			"its edge is taken",
			[]string{"up", "--control", freeAddrs(t, 1)[0], "--data", t.TempDir(), site.dir},
			inTheWay,
			[]string{site.edge, "gateway", "taken"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			complaint := site.fails(t, c.exit, c.args...)
			if strings.Count(complaint, "\n") != 1 {
				t.Errorf("want one line:\n%s", complaint)
			}
			says(t, complaint, c.says...)
		})
	}

	t.Run("the control address is taken by something else", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		go func() { // it speaks first, and it is no HTTP
			for {
				conn, err := taken.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte("220 mail.example.com ESMTP\r\n"))
				conn.Close()
			}
		}()
		complaint := site.fails(t, inTheWay, "up", "--control", taken.Addr().String(), "--data", t.TempDir(), site.dir)
		if strings.Count(complaint, "\n") != 1 {
			t.Errorf("want one line:\n%s", complaint)
		}
		says(t, complaint, taken.Addr().String(), "taken")
	})

	shop.compare(t, before)
	shop.down(t)
}

// Every problem of a system file is named at once, with its place.
func TestRealBrokenSystemFile(t *testing.T) {
	for _, c := range []struct {
		name, file string
		says       []string
	}{
		{"nothing", "", []string{"system.yaml", "empty"}},
		{"no YAML", "system: [", []string{"system.yaml:1", "not YAML"}},
		{"bytes", "\x00\xff\xfe\x01\x02", []string{"system.yaml"}},
		{"tabs", "system: shop\nservices:\n\tgateway: {run: ./gateway}\n", []string{"system.yaml:3", "tabs"}},
		{"a list", "- system: shop\n", []string{"system.yaml:1", "mapping"}},
		{"deep", strings.Repeat("[", 10_000), []string{"system.yaml"}},
		{"aliases that multiply", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c]\n", []string{"system.yaml"}},
		{"huge", "# " + strings.Repeat("x", 4<<20), []string{"larger"}},
		{
			"several mistakes",
			"system: Shop!\ncontrol: {members: 2}\nservices:\n  gateway: {rnu: ./gateway, replicas: many}\n  orders: {run: ./orders, needs: [paymnt], http: 127.0.0.1:99999}\n  payment: {run: ./payment}\n",
			[]string{"problems", "system.yaml:1", "Shop!", "system.yaml:2", "system.yaml:4", "rnu", "did you mean run", "many", "system.yaml:5", "did you mean payment", "99999"},
		},
		{"a package that is none", "system: shop\nservices:\n  gateway: {run: ./nowhere}\n", []string{"system.yaml:3:18", "nowhere"}},
		{"a program that is none", "system: shop\nservices:\n  gateway: {run: no-such-program --port 1}\n", []string{"system.yaml:3:18", "no-such-program"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := newSite(t)
			site.write(t, c.file)
			complaint := site.fails(t, 2, "up", "--data", site.data, site.dir)
			says(t, complaint, c.says...)
			if strings.Contains(complaint, "goroutine ") || len(complaint) > 8<<10 {
				t.Errorf("%d bytes:\n%.2000s", len(complaint), complaint)
			}
		})
	}
}

// fails runs a command line that has to fail with an exit code, without a word on standard output, and returns its
// complaint. An exit code of 3 stands for either, 1 or 2.
func (s *site) fails(t *testing.T, exit int, args ...string) string {
	t.Helper()
	cmd := s.holdfast(t, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode()&exit == 0 {
		t.Errorf("holdfast %s: %v, want exit code %d", strings.Join(args, " "), err, exit)
	}
	if out.Len() > 0 && args[0] != "up" {
		t.Errorf("holdfast %s printed:\n%s", strings.Join(args, " "), &out)
	}
	return complaint.String()
}

func says(t *testing.T, complaint string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(complaint, word) {
			t.Errorf("no word of %q in:\n%.2000s", word, complaint)
		}
	}
}
