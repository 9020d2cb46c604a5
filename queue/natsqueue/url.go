package natsqueue

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
const Scheme = "nats"

// DefaultPrefix begins the names of all streams and subjects unless Config.Prefix says otherwise.
const DefaultPrefix = "holdfast"

const maxURL = 4096

var options = []string{"ca-file", "replicas", "tls", "token-file"}

// Parse reads a URL as Opener takes it into a Config; files are not read. A token or a password has no place in a URL:
// URLs are settings, and settings are logged, shown and inherited. The error goes on after the URL, and repeats no part of
// it that could be a secret.
func Parse(s string) (Config, error) {
	rest, ok := strings.CutPrefix(s, Scheme+"://")
	if !ok {
		return Config{}, errors.New("does not begin with " + Scheme + "://")
	}
	if len(s) > maxURL {
		return Config{}, fmt.Errorf("is longer than %d bytes", maxURL)
	}
	rest, raw, _ := strings.Cut(rest, "?")
	hosts, prefix, _ := strings.Cut(rest, "/")
	if strings.Contains(rest, "@") {
		return Config{}, errors.New("has credentials in it, which belong into a file (token-file) or into code")
	}
	c := Config{Prefix: strings.TrimSuffix(prefix, "/")}
	for e := range strings.SplitSeq(hosts, ",") {
		if !isHostPort(e) {
			return Config{}, fmt.Errorf("has a server %q that is not HOST:PORT", e)
		}
		c.Servers = append(c.Servers, e)
	}
	if c.Prefix != "" && !validPrefix(c.Prefix) {
		return Config{}, errors.New("has a prefix that is not letters, digits, '-' and '_', at most 32")
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return Config{}, errors.New("has options that cannot be read")
	}
	for k, v := range query {
		switch {
		case k == "token" || k == "password":
			return Config{}, errors.New("has a secret in it, which belongs into a file (token-file) or into code")
		case !slices.Contains(options, k):
			return Config{}, fmt.Errorf("has an option other than %s", strings.Join(options, ", "))
		case len(v) > 1:
			return Config{}, fmt.Errorf("has the option %s twice", k)
		}
	}
	c.TokenFile, c.caFile = query.Get("token-file"), query.Get("ca-file")
	if v := query.Get("tls"); v != "" {
		if c.useTLS, err = strconv.ParseBool(v); err != nil {
			return Config{}, errors.New("has an option tls that is neither true nor false")
		}
	}
	c.useTLS = c.useTLS || c.caFile != ""
	if v := query.Get("replicas"); v != "" {
		if c.Replicas, err = strconv.Atoi(v); err != nil || c.Replicas < 1 || c.Replicas > 5 {
			return Config{}, errors.New("has an option replicas that is not 1 to 5")
		}
	}
	return c, nil
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(host, " /%") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

func validPrefix(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return true
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var wrong []error
	if len(c.Servers) == 0 {
		wrong = append(wrong, errors.New("nats queue: no servers"))
	}
	for _, s := range c.Servers {
		switch {
		case !isHostPort(s):
			wrong = append(wrong, fmt.Errorf("nats queue: server %q is not HOST:PORT", s))
		case !loopback(s) && c.TLS == nil && !c.useTLS && !c.Insecure:
			wrong = append(wrong, fmt.Errorf("nats queue: server %s is beyond loopback and the connection is not encrypted: use TLS (tls=true in the URL), or set Insecure", s))
		}
	}
	if c.Prefix != "" && !validPrefix(c.Prefix) {
		wrong = append(wrong, errors.New("nats queue: the prefix is not letters, digits, '-' and '_', at most 32"))
	}
	if c.Replicas < 0 || c.Replicas > 5 {
		wrong = append(wrong, fmt.Errorf("nats queue: %d replicas are not 1 to 5", c.Replicas))
	}
	if c.Lanes < 0 || c.Lanes > maxLanes {
		wrong = append(wrong, fmt.Errorf("nats queue: %d lanes are not 1 to %d", c.Lanes, maxLanes))
	}
	if c.MaxBytes < 0 || c.Dedup < 0 || c.AckWait < 0 {
		wrong = append(wrong, errors.New("nats queue: MaxBytes, Dedup and AckWait cannot be negative"))
	}
	return errors.Join(wrong...)
}

// tls is what the connections are encrypted with, nil for plaintext.
func (c Config) tlsConfig() (*tls.Config, error) {
	if c.TLS != nil || !c.useTLS {
		return c.TLS, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.caFile != "" {
		pem, err := os.ReadFile(c.caFile)
		if err != nil {
			return nil, fmt.Errorf("ca-file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca-file %s: no certificate in it", c.caFile)
		}
	}
	return t, nil
}
