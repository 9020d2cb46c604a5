package rabbitqueue

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	c, err := Parse("amqp://us%40er:s%2Fecret@127.0.0.1,[::1]:5673/shop%2Fa?prefix=p&heartbeat=10s")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Endpoints, []string{"127.0.0.1:5672", "[::1]:5673"}) || c.Username != "us@er" || c.Password != "s/ecret" ||
		c.VHost != "shop/a" || c.Prefix != "p" || c.Heartbeat != 10*time.Second || c.TLS != nil {
		t.Errorf("got %+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if c, err = Parse("amqps://rabbit.internal"); err != nil || c.TLS == nil || c.Endpoints[0] != "rabbit.internal:5671" {
		t.Errorf("got %+v, %v", c, err)
	}
	if c = (Config{Endpoints: []string{"127.0.0.1:1"}}).withDefaults(); c.Username != "guest" || c.Password != "guest" || c.VHost != "/" {
		t.Errorf("defaults %+v", c)
	}
}

// TestCheckURL: what is wrong is said, and no secret is repeated.
func TestCheckURL(t *testing.T) {
	for url, want := range map[string]string{
		"http://127.0.0.1":                                 "amqp://",
		"amqp://":                                          "HOST",
		"amqp://u:hunter2@:5672":                           "HOST",
		"amqp://u:hunter2%zz@127.0.0.1":                    "percent-encoded",
		"amqp://u:hunter2@127.0.0.1:x":                     "HOST:PORT",
		"amqp://u:hun@ter2@127.0.0.1:x":                    "HOST:PORT",
		"amqp://u:hunter2@127.0.0.1?pass=hunter2":          "option other",
		"amqp://127.0.0.1?prefix=a&prefix=b":               "twice",
		"amqp://127.0.0.1?prefix=a:b":                      "prefix",
		"amqp://127.0.0.1?heartbeat=100ms":                 "heartbeat",
		"amqp://127.0.0.1?heartbeat=often":                 "heartbeat",
		"amqp://127.0.0.1?ca-file=/x":                      "amqps",
		"amqp://u:hunter2@127.0.0.1?password-file=/secret": "both",
	} {
		err := Opener{}.CheckURL(url)
		switch {
		case err == nil:
			t.Errorf("%s is not refused", url)
		case !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want %s", url, err, want)
		case strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "ter2"):
			t.Errorf("%s: the secret is in %v", url, err)
		}
	}
	if err := (Opener{}).CheckURL("amqp://10.0.0.1:5672"); err != nil {
		t.Errorf("a URL beyond loopback: %v", err)
	}
}

func TestPlaintextStaysAtHome(t *testing.T) {
	if _, err := Open(Config{Endpoints: []string{"10.0.0.1:5672"}}); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("plaintext beyond loopback: %v", err)
	}
	e, err := Open(Config{Endpoints: []string{"10.0.0.1:5672"}, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(Config{}); err == nil {
		t.Error("nowhere to connect to, and no error")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("amqp://u:p@127.0.0.1:5672,[::1]/v?prefix=x&heartbeat=5s")
	f.Add("amqps://h?password-file=/x")
	f.Fuzz(func(t *testing.T, s string) {
		c, _, err := parse(Config{}, s)
		if err != nil {
			return
		}
		if len(c.Endpoints) == 0 {
			t.Errorf("%q has no endpoint", s)
		}
		_ = c.Validate()
	})
}
