package consullock

import (
	"strings"
	"testing"
	"time"
)

// FuzzRecords: whatever stands in Consul, a holder is one with a token or nobody, and a token fits where it is stored.
func FuzzRecords(f *testing.F) {
	for _, s := range []string{"", "null", "{}", `{"token":7,"name":"a","ticket":"b"}`, `{"token":-1}`, "123", "-1", "99999999999999999999"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r := decode(b); r.Token == 0 && r != (record{}) {
			t.Errorf("a holder without a token: %+v", r)
		}
		if token := decodeToken(b); token > 1<<63-1 {
			t.Errorf("token %d", token)
		}
	})
}

// FuzzConflict: whatever a refusal says, it names a step or none.
func FuzzConflict(f *testing.F) {
	for _, s := range []string{
		"", `{"Results":null,"Errors":[{"OpIndex":3,"What":"lock is already held"}]}`, `"OpIndex":`, `"OpIndex":-1,`, `"OpIndex":99999999999999999999,`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c := parseConflict(s); c.step < -1 || c.about(-1) != (c.step == -1 && !strings.Contains(strings.ToLower(s), "permission denied")) {
			t.Errorf("%q: step %d", s, c.step)
		}
	})
}

func TestConflicts(t *testing.T) {
	c := parseConflict(`{"Results":null,"Errors":[{"OpIndex":2,"What":"current modify index"},{"OpIndex":3,"What":"x`)
	if c.step != 2 || !c.about(2) || c.about(3) || c.noSession() {
		t.Errorf("got %+v", c)
	}
	if c := parseConflict(`{"Errors":[{"OpIndex":1,"What":"Permission denied: token with …"}]}`); c.about(1) {
		t.Error("a want of rights was taken for a conflict")
	}
	if c := parseConflict(`{"Errors":[{"OpIndex":1,"What":"invalid session \"x\""}]}`); !c.noSession() {
		t.Error("a session that is not there was not seen")
	}
}

// TestSegments: names are different keys, and nothing in them means something to a URL.
func TestSegments(t *testing.T) {
	seen := make(map[string]string)
	for _, name := range []string{"a", "A", "a/b", "a=2Fb", "=", "==", ".", "..", "", "ä", "a b", "a%20b", "a?b#c"} {
		s := segment(name)
		if other, twice := seen[s]; twice {
			t.Errorf("%q and %q are both %s", name, other, s)
		}
		seen[s] = name
		if strings.ContainsAny(s, "/?#%&. ") {
			t.Errorf("%q is %s", name, s)
		}
	}
}

func TestConfig(t *testing.T) {
	good := Config{Agents: []string{"127.0.0.1:8500"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*Config){
		"agents":                       func(c *Config) { c.Agents = nil },
		"prefix":                       func(c *Config) { c.Prefix = "a?b" },
		"prefix up":                    func(c *Config) { c.Prefix = "a/../b" },
		"datacenter":                   func(c *Config) { c.Datacenter = "a/b" },
		"lock delay":                   func(c *Config) { c.LockDelay = time.Hour },
		"lock delay that is too short": func(c *Config) { c.LockDelay = time.Millisecond },
		"minimal":                      func(c *Config) { c.MinTTL = -1 },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: %+v is accepted", what, c)
		}
	}
	for _, url := range []string{"consul://127.0.0.1:8500", "consul://10.0.0.1:8500/dc1?prefix=shop-&tls=true"} {
		if err := (Opener{}).CheckURL(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	if got := (Opener{}).Scheme(); got != "consul" {
		t.Errorf("scheme %s", got)
	}
	for _, url := range []string{"etcd://h:1", "consul://h", "consul://h:1?prefix=a b", "consul://h:1?token=x"} {
		if err := (Opener{}).CheckURL(url); err == nil {
			t.Errorf("%s is accepted", url)
		}
	}
}
