package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

//go:embed assets
var assets embed.FS

const (
	// prefix is where the page's other files are: under the hash of all of them, so that what a browser has kept of one
	// build is never mixed with another.
	prefix = "/console/"
	index  = "index.html"
)

// policy lets the page use its own files and nothing else: no inline script, no frame around it, no other server. Trusted
// types are demanded and none are made, so that text from outside cannot become HTML even by a mistake in a script.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Handler answers "GET /" with the page and "GET /console/…" with its files; anything else is a failure.NotFound as
// problem+json. It is meant to stand beside the control API on one server, behind whatever guards that.
//
// The page itself is asked for anew each time and answered with 304 if it has not changed. Its files are under a path that
// names their content, and may be kept for ever. Both are compressed once, when Handler is first called. Safe for concurrent use.
func Handler() http.Handler {
	b := bundled()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		w.Header().Set("Cache-Control", "no-cache")
		b.page.serve(w, r)
	})
	mux.HandleFunc("GET "+prefix+"{hash}/{name...}", func(w http.ResponseWriter, r *http.Request) {
		f, ok := b.files[r.PathValue("name")]
		if !ok || r.PathValue("hash") != b.hash {
			notFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
		f.serve(w, r)
	})
	mux.HandleFunc("/", notFound)
	return mux
}

func notFound(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	failure.WriteProblem(w, failure.New(failure.NotFound, "the console has nothing at %.128s", r.URL.Path))
}

// bundle is all of the page's files as they are answered.
type bundle struct {
	hash  string          // of all of files
	page  file            // with the paths of the others in it
	files map[string]file // all but the page, by name
}

// file is a body in both encodings. Neither is written to after it was made.
type file struct {
	mime    string
	etag    string
	plain   []byte
	gzipped []byte
}

// serve answers in the encoding that the request takes. Conditions and ranges are net/http's.
func (f file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.mime)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Vary", "Accept-Encoding")
	body, etag := f.plain, f.etag
	if takesGzip(r.Header.Get("Accept-Encoding")) {
		body, etag = f.gzipped, f.etag+"-gzip"
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", strconv.Itoa(len(body))) // net/http leaves it out where an encoding is set
	}
	h.Set("ETag", strconv.Quote(etag))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// takesGzip reads as much of Accept-Encoding as browsers write: gzip counts unless it has a weight of 0.
func takesGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, weight, _ := strings.Cut(strings.ToLower(part), ";")
		if strings.TrimSpace(coding) != "gzip" {
			continue
		}
		value, isWeight := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
		q, err := strconv.ParseFloat(value, 64)
		return !isWeight || err == nil && q > 0
	}
	return false
}

// bundled reads and compresses the files once. The files are constants of the program: that they cannot be read is a broken
// build, which the tests of this package would not let through.
var bundled = sync.OnceValue(func() bundle {
	b, err := build(assets)
	if err != nil {
		panic("console: " + err.Error())
	}
	return b
})

// build makes a bundle of the files in the directory "assets". In index.html, {{base}} is the path of the others, and
// {{modules}} has every script named, so that a browser asks for all at once and not for one after another as they import each other.
func build(dir fs.FS) (bundle, error) {
	b := bundle{files: map[string]file{}}
	sum := sha256.New()
	var page []byte
	var modules strings.Builder
	err := fs.WalkDir(dir, "assets", func(name string, d fs.DirEntry, err error) error { // in the order of the names
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(name, "assets/")
		fmt.Fprintf(sum, "%s %d\n%s", name, len(data), data)
		if name == index {
			page = data
			return nil
		}
		if path.Ext(name) == ".js" {
			fmt.Fprintf(&modules, "<link rel=\"modulepreload\" href=\"{{base}}%s\">\n", name)
		}
		b.files[name], err = newFile(name, data)
		return err
	})
	if err != nil {
		return b, err
	}
	b.hash = hex.EncodeToString(sum.Sum(nil))[:16]
	page = bytes.ReplaceAll(page, []byte("{{modules}}\n"), []byte(modules.String()))
	page = bytes.ReplaceAll(page, []byte("{{base}}"), []byte(prefix+b.hash+"/"))
	b.page, err = newFile(index, page)
	return b, err
}

var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

func newFile(name string, data []byte) (file, error) {
	mime, ok := types[path.Ext(name)]
	if !ok {
		return file{}, fmt.Errorf("%s: files of this kind are not served", name)
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return file{}, err
	}
	if _, err = w.Write(data); err == nil {
		err = w.Close()
	}
	sum := sha256.Sum256(data)
	return file{mime, hex.EncodeToString(sum[:8]), data, packed.Bytes()}, err
}
