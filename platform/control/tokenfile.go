package control

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/internal/diskfile"
)

const (
	maxTokenFile  = 4 << 10
	maxTokenFiles = 1000 // that are looked at to find those of systems that are dead
	// sweepAge is how old they have to be: a process that is not here may be in another container with the same home.
	sweepAge = 24 * time.Hour
)

// tokenFile lies where only the user of the system can read it, and tells a Client at the same machine how to speak with it.
type tokenFile struct {
	Token string `json:"token"`
	PID   int    `json:"pid"`
	// Pin is the SHA-256 of the server's certificate; empty without TLS.
	Pin []byte `json:"pin,omitempty"`
}

// tokenDirs are the directories where the files of systems may be, best first: the user's cache, and for a user without one a
// directory among the temporary files, which is only believed if it is the user's alone.
func tokenDirs() []string {
	var dirs []string
	if cache, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, filepath.Join(cache, "holdfast", "control"))
	}
	return append(dirs, filepath.Join(os.TempDir(), "holdfast-"+strconv.Itoa(os.Geteuid()), "control"))
}

// tokenNames are the names of the files for an address, one for each way in which a client may call it.
func tokenNames(addr string) []string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil
	}
	hosts := []string{host}
	ip, err := netip.ParseAddr(host)
	switch {
	case strings.EqualFold(host, "localhost"):
		hosts = []string{"127.0.0.1", "::1"}
	case host == "" || err == nil && ip.IsUnspecified():
		hosts = []string{"0.0.0.0", "127.0.0.1", "::1"}
	case err == nil:
		hosts = []string{ip.Unmap().String()}
	}
	var names []string
	for _, h := range hosts {
		if h = fileName(h); h != "" && len(h) <= maxName {
			names = append(names, h+"_"+fileName(port)+".json")
		}
	}
	return names
}

// fileName keeps what is harmless in a name on every system.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, s)
}

// writeTokenFiles writes f for the server at addr and returns the paths. What dead systems have left is removed.
func writeTokenFiles(addr string, f tokenFile) (paths []string, err error) {
	b, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, dir := range tokenDirs() {
		if err := ownDir(dir); err != nil {
			errs = append(errs, err)
			continue
		}
		sweepTokenFiles(dir)
		paths, err := writeIn(dir, addr, b)
		if err == nil {
			return paths, nil
		}
		removeTokenFiles(paths, f.Token)
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("write the token for this user's clients: %w", errors.Join(errs...))
}

func writeIn(dir, addr string, b []byte) (paths []string, err error) {
	for _, name := range tokenNames(addr) {
		path := filepath.Join(dir, name)
		if err := diskfile.Replace(path, b); err != nil { // 0600
			return paths, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// ownDir makes a directory for this user alone, or makes sure that it is one.
func ownDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range []string{filepath.Dir(dir), dir} {
		info, err := os.Lstat(d)
		switch {
		case err != nil:
			return err
		case !info.IsDir() || !owned(info) || info.Mode().Perm()&0o022 != 0:
			return fmt.Errorf("%s: not a directory that only this user can write to", d)
		}
	}
	return nil
}

// removeTokenFiles removes files that still have this token: at an address that was let go there may be another system by now.
func removeTokenFiles(paths []string, token string) {
	for _, path := range paths {
		if f, err := readTokenFile(path); err == nil && f.Token == token {
			_ = os.Remove(path) // what is left is void, and swept
		}
	}
}

// sweepTokenFiles removes what systems that were killed have left, since addresses differ from run to run.
func sweepTokenFiles(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	entries, _ := d.ReadDir(maxTokenFiles)
	_ = d.Close()
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < sweepAge {
			continue
		}
		if strings.HasPrefix(e.Name(), ".") { // of a writer that was killed
			_ = os.Remove(path)
		} else if f, err := readTokenFile(path); err == nil && gone(f.PID) {
			_ = os.Remove(path)
		}
	}
}

// readTokenFile takes only what this user has written and nobody else can read.
func readTokenFile(path string) (tokenFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return tokenFile{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return tokenFile{}, err
	case !info.Mode().IsRegular() || !owned(info) || !private(info):
		return tokenFile{}, fmt.Errorf("%s: not a file that only this user can read and write", path)
	}
	b, err := io.ReadAll(io.LimitReader(file, maxTokenFile))
	if err != nil {
		return tokenFile{}, err
	}
	return parseTokenFile(b)
}

func parseTokenFile(b []byte) (tokenFile, error) {
	var f tokenFile
	if err := json.Unmarshal(b, &f); err != nil {
		return tokenFile{}, fmt.Errorf("token file: %w", err)
	}
	if f.Token == "" || !sendable(f.Token) || len(f.Pin) != 0 && len(f.Pin) != sha256.Size {
		return tokenFile{}, errors.New("token file: no token in it")
	}
	return f, nil
}

// sendable says whether a token can be the value of a header.
func sendable(token string) bool {
	return len(token) <= 1024 && !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// findTokenFile is what the running system at addr has left for its user's clients; the zero value is that there is nothing.
func findTokenFile(addr string) tokenFile {
	for _, dir := range tokenDirs() {
		for _, name := range tokenNames(addr) {
			if f, err := readTokenFile(filepath.Join(dir, name)); err == nil {
				return f
			}
		}
	}
	return tokenFile{}
}

// pin is the hash of the certificate that a server shows to everybody, nil if that is not known.
func pin(cfg *tls.Config) []byte {
	if cfg == nil || len(cfg.Certificates) == 0 || len(cfg.Certificates[0].Certificate) == 0 {
		return nil
	}
	sum := sha256.Sum256(cfg.Certificates[0].Certificate[0])
	return sum[:]
}
