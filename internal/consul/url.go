package consul

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Scheme is that of the URLs that ParseURL reads.
const Scheme = "consul"

// URL is consul://HOST:PORT[,HOST:PORT][/DATACENTER][?OPTION=VALUE&…], with the options
//
//	prefix      put before the names of services and keys
//	tls         true: speak TLS
//	ca-file     speak TLS, and trust the certificates in this PEM file only
//	token-file  the file with the ACL token
//
// A token has no place in it: URLs are settings, and settings are logged, shown and inherited.
type URL struct {
	Agents             []string
	Datacenter, Prefix string
	TokenFile, CAFile  string
	TLS                bool
}

var options = []string{"ca-file", "prefix", "tls", "token-file"}

// ParseURL takes a URL apart. The error goes on after the URL, and repeats no part of it that could be a secret.
func ParseURL(s string) (URL, error) {
	rest, ok := strings.CutPrefix(s, Scheme+"://")
	if !ok {
		return URL{}, errors.New("does not begin with " + Scheme + "://")
	}
	rest, raw, _ := strings.Cut(rest, "?")
	hosts, dc, _ := strings.Cut(rest, "/")
	if strings.Contains(rest, "@") {
		return URL{}, errors.New("has credentials in it, which belong into a file (token-file) or into code")
	}
	u := URL{Agents: strings.Split(hosts, ","), Datacenter: strings.TrimSuffix(dc, "/")}
	if strings.ContainsAny(u.Datacenter, "/#") {
		return URL{}, errors.New("has more than a datacenter after the first '/'")
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return URL{}, errors.New("has options that cannot be read")
	}
	for k, v := range query {
		switch {
		case k == "token":
			return URL{}, errors.New("has a token in it, which belongs into a file (token-file) or into code")
		case !slices.Contains(options, k):
			return URL{}, fmt.Errorf("has an option other than %s", strings.Join(options, ", "))
		case len(v) > 1:
			return URL{}, fmt.Errorf("has the option %s twice", k)
		}
	}
	u.Prefix, u.TokenFile, u.CAFile = query.Get("prefix"), query.Get("token-file"), query.Get("ca-file")
	if v := query.Get("tls"); v != "" {
		if u.TLS, err = strconv.ParseBool(v); err != nil {
			return URL{}, errors.New("has an option tls that is neither true nor false")
		}
	}
	return u, nil
}

// Apply fills in what the URL says; what it does not say stays as it is.
func (u URL) Apply(c Config) (Config, error) {
	c.Agents = u.Agents
	if u.TokenFile != "" {
		c.TokenFile, c.Token = u.TokenFile, ""
	}
	if (u.TLS || u.CAFile != "") && c.TLS == nil {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if u.CAFile != "" {
		pem, err := os.ReadFile(u.CAFile)
		if err != nil {
			return c, fmt.Errorf("ca-file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return c, fmt.Errorf("ca-file %s: no certificate in it", u.CAFile)
		}
		c.TLS = c.TLS.Clone()
		c.TLS.RootCAs = pool
	}
	return c, nil
}
