package gateway

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rest/ginrest"
)

//go:embed web
var webFiles embed.FS

// page is the storefront: a few static files. The page asks the API for everything else.
type page struct {
	files map[string]asset // by path in web/
}

type asset struct {
	body        []byte
	contentType string
	etag        string
}

// contentTypes are not asked of the machine: each has its own idea of them.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

func loadPage() (*page, error) {
	p := &page{files: make(map[string]asset)}
	err := fs.WalkDir(webFiles, "web", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := webFiles.ReadFile(name)
		if err != nil {
			return err
		}
		contentType, ok := contentTypes[path.Ext(name)]
		if !ok {
			return fmt.Errorf("%s: of what type is it?", name)
		}
		sum := sha256.Sum256(body)
		p.files[strings.TrimPrefix(name, "web/")] = asset{body, contentType, `"` + hex.EncodeToString(sum[:8]) + `"`}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("storefront: %w", err)
	}
	if _, ok := p.files["index.html"]; !ok {
		return nil, fmt.Errorf("storefront: %w: index.html", fs.ErrNotExist)
	}
	return p, nil
}

// routes adds the page's files, and its addresses that a customer may have bookmarked: all of them are the same
// document, which looks at the address itself.
func (p *page) routes(engine *gin.Engine) {
	for name := range p.files {
		if name != "index.html" {
			p.route(engine, "/"+name, name)
		}
	}
	for _, path := range []string{"/", "/products/:id", "/cart", "/orders", "/orders/:id"} {
		p.route(engine, path, "index.html")
	}
	// At an address that is none, people get the page, which says so, and programs a problem.
	engine.NoRoute(func(c *gin.Context) {
		if c.Request.Method != http.MethodGet || !strings.Contains(c.GetHeader("Accept"), "text/html") || strings.HasPrefix(c.Request.URL.Path, "/api/") {
			ginrest.Error(c, failure.New(failure.NotFound, "there is nothing at this path"))
			return
		}
		file := p.files["index.html"]
		c.Header("Cache-Control", "no-store")
		c.Data(http.StatusNotFound, file.contentType, file.body)
	})
}

func (p *page) route(engine *gin.Engine, path, name string) {
	file := p.files[name]
	serve := func(c *gin.Context) {
		// Revalidated every time: an answer of no bytes, and never an old script with a new document.
		c.Header("Cache-Control", "no-cache")
		c.Header("ETag", file.etag)
		if strings.Contains(c.GetHeader("If-None-Match"), file.etag) {
			c.Status(http.StatusNotModified)
			return
		}
		c.Data(http.StatusOK, file.contentType, file.body)
	}
	engine.GET(path, serve)
	engine.HEAD(path, serve)
}
