//go:build unix

package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// Beyond this machine the control API takes a certificate, and up says so.
func TestUpIsNotSteeredFromOtherMachinesInPlaintext(t *testing.T) {
	l := &line{}
	code := l.run("up", "--control", "0.0.0.0:0", "--data", t.TempDir(), smallSystem(t, ""))
	for _, want := range []string{"0.0.0.0:0 is beyond this machine", "--control-cert", "--control-key", "ssh -L"} {
		if code != 1 || !strings.Contains(l.err.String(), want) || strings.Count(l.err.String(), "\n") != 1 {
			t.Errorf("exit code %d, no %q: %s", code, want, l.err.String())
		}
	}
}

func TestCertificatesAndTokensThatAreNone(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none.pem")
	if err := os.WriteFile(none, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		token string
		args  []string
		want  string
	}{
		{"", []string{"--control-cert", none}, "belong together"},
		{"", []string{"--control-key", none}, "belong together"},
		{"", []string{"--control-cert", none, "--control-key", none}, none},
		{"short", nil, "HOLDFAST_TOKEN has 5 bytes; a token has at least 32"},
	} {
		l := &line{env: map[string]string{control.TokenVariable: tc.token}}
		args := append([]string{"up", "--control", "127.0.0.1:0", "--data", dir}, tc.args...)
		if code := l.run(append(args, smallSystem(t, ""))...); code != 2 || !strings.Contains(l.err.String(), tc.want) || strings.Contains(l.err.String(), "short") {
			t.Errorf("%v: exit code %d, %s", tc.args, code, l.err.String())
		}
	}
	// With a certificate the address is taken, and what comes next is said.
	cert, key := pair(t, dir)
	l := &line{}
	code := l.run("up", "--control", "0.0.0.0:0", "--control-cert", cert, "--control-key", key, "--data", dir, smallSystem(t, "0.0.0.0:1"))
	if code != 1 || !strings.Contains(l.err.String(), "service web is to listen on 0.0.0.0:1") {
		t.Errorf("exit code %d, %s", code, l.err.String())
	}
}

// A token that is printed is one, with the right that was asked for.
func TestToken(t *testing.T) {
	_, l := serve(t)
	addr := l.env["HOLDFAST_CONTROL"]
	for args, status := range map[string]int{"token": http.StatusOK, "token --view": http.StatusForbidden} {
		if code := l.run(strings.Fields(args)...); code != 0 || strings.Count(l.out.String(), "\n") != 1 {
			t.Fatalf("%s: exit code %d, %s%s", args, code, l.out.String(), l.err.String())
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/v1/thaw", strings.NewReader(`{"target": "orders"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(l.out.String()))
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%s: %d, want %d", args, resp.StatusCode, status)
		}
	}
}

// A token that is not the system's is an error that says whose it has to be.
func TestAWrongToken(t *testing.T) {
	_, l := serve(t)
	t.Setenv(control.TokenVariable, strings.Repeat("x", 40))
	if code := l.run("kill", "orders-1"); code != 1 || !strings.Contains(l.err.String(), "HOLDFAST_TOKEN") || strings.Contains(l.err.String(), "xxxx") {
		t.Errorf("exit code %d, %s", code, l.err.String())
	}
}

// pair makes a certificate and its key.
func pair(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"c.pem": {Type: "CERTIFICATE", Bytes: der}, "k.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
}
