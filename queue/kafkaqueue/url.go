package kafkaqueue

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Scheme is that of the URLs that Parse reads.
const Scheme = "kafka"

const (
	maxURL = 4096
	// mostMessage keeps sizes within what the protocol has room for.
	mostMessage = 64 << 20
)

var (
	options    = []string{"ca-file", "max-message", "partitions", "password-file", "replicas", "sasl", "tls"}
	mechanisms = []string{"plain", "scram-sha-256", "scram-sha-512"}
)

// Parse reads a URL as Opener takes it into a Config; files are not read. The error goes on after the URL, and repeats no
// part of it that could be a secret.
func Parse(s string) (Config, error) {
	rest, ok := strings.CutPrefix(s, Scheme+"://")
	if !ok {
		return Config{}, errors.New("does not begin with " + Scheme + "://")
	}
	if len(s) > maxURL {
		return Config{}, fmt.Errorf("is longer than %d bytes", maxURL)
	}
	rest, raw, _ := strings.Cut(rest, "?")
	var c Config
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if err := c.credentials(rest[:at]); err != nil {
			return Config{}, err
		}
		rest = rest[at+1:]
	}
	for i, b := range strings.Split(strings.TrimSuffix(rest, "/"), ",") {
		if !isHostPort(b) {
			return Config{}, fmt.Errorf("has a broker, number %d, that is not HOST:PORT", i+1) // which may be a part of a password
		}
		c.Brokers = append(c.Brokers, b)
	}
	if err := c.query(raw); err != nil {
		return Config{}, err
	}
	return c, nil
}

func (c *Config) credentials(s string) error {
	user, password, _ := strings.Cut(s, ":")
	var err, err2 error
	c.Username, err = url.PathUnescape(user)
	c.Password, err2 = url.PathUnescape(password)
	if err != nil || err2 != nil || c.Username == "" {
		return errors.New("has credentials that are not USER:PASSWORD, percent-encoded")
	}
	return nil
}

func (c *Config) query(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("has options that cannot be read")
	}
	for k, v := range query {
		switch {
		case !slices.Contains(options, k):
			return fmt.Errorf("has an option other than %s", strings.Join(options, ", "))
		case len(v) > 1:
			return fmt.Errorf("has the option %s twice", k)
		}
	}
	if v := query.Get("tls"); v != "" {
		if c.useTLS, err = strconv.ParseBool(v); err != nil {
			return errors.New("has an option tls that is neither true nor false")
		}
	}
	c.caFile, c.passwordFile = query.Get("ca-file"), query.Get("password-file")
	c.useTLS = c.useTLS || c.caFile != ""
	if v := query.Get("sasl"); v != "" {
		if !slices.Contains(mechanisms, v) {
			return fmt.Errorf("has an option sasl that is not one of %s", strings.Join(mechanisms, ", "))
		}
		c.Mechanism = v
	}
	for name, to := range map[string]*int{"partitions": &c.Partitions, "replicas": &c.Replicas, "max-message": &c.MaxMessage} {
		if v := query.Get(name); v != "" {
			if *to, err = strconv.Atoi(v); err != nil || *to < 1 {
				return fmt.Errorf("has an option %s that is not a number of at least 1", name)
			}
		}
	}
	if c.passwordFile != "" && c.Password != "" {
		return errors.New("has a password and a password-file")
	}
	return nil
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(host, " /%@") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Validate reports everything that is wrong with c. It repeats no secret.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka queue: "+format, args...)) }
	if len(c.Brokers) == 0 {
		wrong("no brokers")
	}
	for _, b := range c.Brokers {
		if !isHostPort(b) {
			wrong("broker %q is not HOST:PORT", b)
		} else if err := c.exposed(b); err != nil {
			wrong("%w", err)
		}
	}
	if c.Mechanism != "" && !slices.Contains(mechanisms, c.Mechanism) {
		wrong("the SASL mechanism is not one of %s", strings.Join(mechanisms, ", "))
	}
	if c.Username == "" && (c.Password != "" || c.Mechanism != "" || c.passwordFile != "") {
		wrong("SASL needs a user name")
	}
	if c.Username != "" && c.Password == "" && c.passwordFile == "" {
		wrong("the user has no password")
	}
	if c.Partitions < 0 || c.Partitions > 10_000 {
		wrong("%d partitions are not 1 to 10000", c.Partitions)
	}
	if c.Replicas < 0 || c.Replicas > 100 {
		wrong("%d replicas are not 1 to 100", c.Replicas)
	}
	if c.MaxMessage < 0 || c.MaxMessage > mostMessage {
		wrong("a message of %d bytes is not 1 to %d", c.MaxMessage, mostMessage)
	}
	if c.Session < 0 || c.RevokeWait < 0 {
		wrong("Session and RevokeWait cannot be negative")
	}
	return errors.Join(errs...)
}

// load reads the files that the URL names.
func (c *Config) load() error {
	if c.passwordFile != "" && c.Password == "" {
		b, err := os.ReadFile(c.passwordFile)
		if err != nil {
			return fmt.Errorf("password-file: %w", err)
		}
		if c.Password = strings.TrimSpace(string(b)); c.Password == "" {
			return fmt.Errorf("password-file %s is empty", c.passwordFile)
		}
	}
	if c.TLS != nil || !c.useTLS {
		return nil
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.caFile != "" {
		pem, err := os.ReadFile(c.caFile)
		if err != nil {
			return fmt.Errorf("ca-file: %w", err)
		}
		c.TLS.RootCAs = x509.NewCertPool()
		if !c.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca-file %s: no certificate in it", c.caFile)
		}
	}
	return nil
}
