package console_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/platform/console"
)

// ask sends a request to the handler itself; headers come in pairs.
func ask(t *testing.T, method, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	console.Handler().ServeHTTP(w, r)
	return w
}

func TestPageMayUseItsOwnFilesAlone(t *testing.T) {
	w := ask(t, http.MethodGet, "/")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("the page: %d %s", w.Code, w.Header().Get("Content-Type"))
	}
	policy := w.Header().Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy lacks %s: %s", part, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || strings.Contains(policy, "*") {
		t.Errorf("the policy lets in others: %s", policy)
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

var asset = regexp.MustCompile(`(?:href|src)="(/console/[0-9a-f]{16}/[a-z0-9.]+)"`)

func TestEveryFileThatThePageNamesIsThereForEver(t *testing.T) {
	page := ask(t, http.MethodGet, "/").Body.String()
	if strings.Contains(page, "{{") {
		t.Fatalf("a place in the page was not filled in: %s", page)
	}
	named := asset.FindAllStringSubmatch(page, -1)
	if len(named) < 20 {
		t.Fatalf("the page names %d files", len(named))
	}
	for _, n := range named {
		w := ask(t, http.MethodGet, n[1])
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: %d, %d bytes", n[1], w.Code, w.Body.Len())
		}
		if got := w.Header().Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s may be kept as %q", n[1], got)
		}
		wrong := regexp.MustCompile(`[0-9a-f]{16}`).ReplaceAllString(n[1], "0123456789abcdef")
		if w := ask(t, http.MethodGet, wrong); w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("a file of another build: %d, kept as %q", w.Code, w.Header().Get("Cache-Control"))
		}
	}
}

func TestBothEncodingsHaveTheSameInThem(t *testing.T) {
	for _, path := range []string{"/", asset.FindStringSubmatch(ask(t, http.MethodGet, "/").Body.String())[1]} {
		plain, packed := ask(t, http.MethodGet, path), ask(t, http.MethodGet, path, "Accept-Encoding", "br, gzip;q=0.5")
		if plain.Header().Get("Content-Encoding") != "" || packed.Header().Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s: encodings %q, %q", path, plain.Header().Get("Content-Encoding"), packed.Header().Get("Content-Encoding"))
		}
		if w := ask(t, http.MethodGet, path, "Accept-Encoding", "gzip; q=0"); w.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s: gzip, though it was refused", path)
		}
		r, err := gzip.NewReader(packed.Body)
		if err != nil {
			t.Fatal(err)
		}
		unpacked, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(unpacked, plain.Body.Bytes()) {
			t.Errorf("%s: what was packed is another than what was not: %v", path, err)
		}
		if plain.Header().Get("ETag") == packed.Header().Get("ETag") || plain.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: a cache could mix up the two: %q, %q", path, plain.Header().Get("ETag"), packed.Header().Get("ETag"))
		}
	}
}

func TestAnUnchangedPageIsNotSentAgain(t *testing.T) {
	tag := ask(t, http.MethodGet, "/").Header().Get("ETag")
	if w := ask(t, http.MethodGet, "/", "If-None-Match", tag); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
	}
	if w := ask(t, http.MethodHead, "/"); w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("ETag") != tag {
		t.Errorf("HEAD: %d with %d bytes, %q", w.Code, w.Body.Len(), w.Header().Get("ETag"))
	}
}

func TestWhatIsNotThePages(t *testing.T) {
	for _, path := range []string{"/v1/system", "/index.html", "/console/", "/console/x", "/console/0123456789abcdef/../../doc.go", "/favicon.ico"} {
		if w := ask(t, http.MethodGet, path); w.Code == http.StatusOK {
			t.Errorf("%s is answered: %.80s", path, w.Body.String())
		}
	}
	if w := ask(t, http.MethodPost, "/"); w.Code == http.StatusOK {
		t.Error("the page takes a POST")
	}
}
