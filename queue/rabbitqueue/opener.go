package rabbitqueue

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// The schemes of the URLs that Parse reads: without TLS and with.
const (
	Scheme    = "amqp"
	SchemeTLS = "amqps"
)

// Opener links this engine into a program, so that the URL of the queue may be
//
//	amqp://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]][/VHOST][?prefix=…&ca-file=…&password-file=…&heartbeat=5s]
//
// and, with TLS, the same with amqps. A URL that others may see has the user and a password-file. A Opener{} is for amqp,
// an Opener{TLS: true} for amqps.
type Opener struct {
	// TLS makes it the opener of amqps.
	TLS bool
	// Config is what URLs do not say; what they say counts.
	Config Config
}

// Scheme returns "amqp" or "amqps".
func (o Opener) Scheme() string {
	if o.TLS {
		return SchemeTLS
	}
	return Scheme
}

// CheckURL implements driver.Opener. Files are not read.
func (o Opener) CheckURL(url string) error {
	c, _, err := parse(o.Config, url)
	if err != nil {
		return err
	}
	c.Insecure = true // that is for OpenQueue to say
	if err := c.Validate(); err != nil {
		return fmt.Errorf("is wrong: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// OpenQueue implements driver.Opener.
func (o Opener) OpenQueue(url string, options driver.OpenOptions) (driver.Engine, error) {
	c, caFile, err := parse(o.Config, url)
	if err != nil {
		return nil, errors.New("the queue's URL " + err.Error())
	}
	if c.TLS, err = withCA(c.TLS, caFile); err != nil {
		return nil, fmt.Errorf("RabbitMQ: %w", err)
	}
	c.Insecure = c.Insecure || options.Insecure
	if options.WrapDial != nil {
		c.Dial = options.WrapDial(c.Dial)
	}
	if options.Name != "" {
		c.Name = options.Name
	}
	if options.Logger != nil {
		c.Logger = options.Logger
	}
	e, err := Open(c)
	if err != nil { // not e: a nil *Engine would be an engine that is not nil
		return nil, err
	}
	return e, nil
}

// Parse reads a URL, as Opener says what it is, into a Config, and the files that it names. The error goes on after the URL.
func Parse(url string) (Config, error) {
	c, caFile, err := parse(Config{}, url)
	if err != nil {
		return Config{}, err
	}
	if c.TLS, err = withCA(c.TLS, caFile); err != nil {
		return Config{}, fmt.Errorf("names a %w", err)
	}
	return c, nil
}

var options = []string{"prefix", "ca-file", "password-file", "heartbeat"}

// parse reads a URL over what c says. Its errors repeat nothing that could be a secret.
func parse(c Config, s string) (_ Config, caFile string, _ error) {
	fail := func(text string) (Config, string, error) { return Config{}, "", errors.New(text) }
	rest, secure := strings.CutPrefix(s, SchemeTLS+"://")
	if !secure {
		var ok bool
		if rest, ok = strings.CutPrefix(s, Scheme+"://"); !ok {
			return fail("does not begin with amqp:// or amqps://")
		}
	}
	rest, raw, _ := strings.Cut(rest, "?")
	// The last '@': one within a password that nobody escaped must not make the rest of it a host, which is shown.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		var err error
		name, secret, _ := strings.Cut(rest[:at], ":")
		if c.Username, err = url.PathUnescape(name); err == nil {
			c.Password, err = url.PathUnescape(secret)
		}
		if err != nil {
			return fail("has a user or a password that is not percent-encoded")
		}
		c.PasswordFile, rest = "", rest[at+1:]
	}
	hosts, vhost, _ := strings.Cut(rest, "/")
	if vhost != "" {
		var err error
		if c.VHost, err = url.PathUnescape(vhost); err != nil {
			return fail("has a virtual host that is not percent-encoded")
		}
	}
	port := "5672"
	if secure {
		port = "5671"
		if c.TLS == nil {
			c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	} else {
		c.TLS = nil
	}
	c.Endpoints = nil
	for h := range strings.SplitSeq(hosts, ",") {
		e, err := endpoint(h, port)
		if err != nil {
			return fail("has a node that is not HOST or HOST:PORT")
		}
		c.Endpoints = append(c.Endpoints, e)
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return fail("has options that cannot be read")
	}
	for k, v := range query {
		switch {
		case !slices.Contains(options, k):
			return fail("has an option other than " + strings.Join(options, ", "))
		case len(v) > 1:
			return fail("has the option " + k + " twice")
		}
	}
	if v := query.Get("prefix"); v != "" {
		c.Prefix = v
	}
	if v := query.Get("password-file"); v != "" {
		if c.Password != "" {
			return fail("has both a password and a password-file")
		}
		c.PasswordFile = v
	}
	if v := query.Get("heartbeat"); v != "" {
		if c.Heartbeat, err = time.ParseDuration(v); err != nil {
			return fail("has a heartbeat that is not a duration")
		}
	}
	if caFile = query.Get("ca-file"); caFile != "" && !secure {
		return fail("has a ca-file, which is for amqps")
	}
	return c, caFile, nil
}

// endpoint adds the port that is missing.
func endpoint(s, port string) (string, error) {
	if s == "" || strings.ContainsAny(s, " \t\r\n#") {
		return "", errors.New("empty")
	}
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		host, p = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), port
		if strings.ContainsAny(host, "[]") || strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", err
		}
	}
	if _, err := strconv.ParseUint(p, 10, 16); err != nil || host == "" {
		return "", errors.New("no host or no port")
	}
	return net.JoinHostPort(host, p), nil
}

// withCA returns c with the authorities of a file.
func withCA(c *tls.Config, file string) (*tls.Config, error) {
	if file == "" {
		return c, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca-file %s: no certificate in it", file)
	}
	c = c.Clone()
	c.RootCAs = pool
	return c, nil
}
