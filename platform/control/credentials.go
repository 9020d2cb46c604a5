package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/diskfile"
)

// CAVariable is the environment variable with the file of the certificates (PEM) that a [Client] trusts beyond this machine, instead
// of the system's.
const CAVariable = "HOLDFAST_CONTROL_CA"

const maxCAFile = 1 << 20

// credentials are what a Client has to show, and what it wants to be shown. They are looked for when they are first needed.
type credentials struct {
	tls bool // the address said so

	mu    sync.Mutex
	known bool
	file  tokenFile // with Token from the environment, if there is one
}

func (c *credentials) get(addr string) tokenFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		c.file, c.known = lookForToken(addr), true
	}
	return c.file
}

// renew looks again, because was is no good, and says whether there is something else.
func (c *credentials) renew(addr string, was tokenFile) (now tokenFile, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file.Token == was.Token {
		c.file, c.known = lookForToken(addr), true
	}
	return c.file, c.file.Token != was.Token
}

func lookForToken(addr string) tokenFile {
	f := findTokenFile(addr)
	if token := os.Getenv(TokenVariable); token != "" && sendable(token) {
		f.Token = token
	}
	return f
}

// dialTLS connects to a server that has to show the certificate that the system has left word of, if it has, or else one that
// is signed for its name.
func (c *Client) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	if want := c.keys.get(c.addr).Pin; want != nil {
		cfg.InsecureSkipVerify = true // what follows is stricter
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) > 0 {
				if got := sha256.Sum256(s.PeerCertificates[0].Raw); bytes.Equal(got[:], want) {
					return nil
				}
			}
			return errors.New("it does not have the certificate of the system that runs there for this user")
		}
	} else if file := os.Getenv(CAVariable); file != "" {
		pem, err := diskfile.Read(file, maxCAFile)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", CAVariable, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in %s", CAVariable, file)
		}
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 2 * time.Second}, Config: cfg}
	return d.DialContext(ctx, network, addr)
}
