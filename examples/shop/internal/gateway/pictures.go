package gateway

import (
	"embed"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
	"github.com/holdfast-go/holdfast/failure"
)

//go:embed motifs/*.svg
var motifFiles embed.FS

// pictures draws a product: the motif it is a kind of, in colours and before a background that are its own.
type pictures struct {
	motifs map[string]string // drawings in a square of 200, with colours {a} (body), {b} (shade), {c} (accent), {d} (detail)
}

func loadPictures() (*pictures, error) {
	names, err := fs.Glob(motifFiles, "motifs/*.svg")
	if err != nil {
		return nil, fmt.Errorf("pictures: %w", err)
	}
	p := &pictures{motifs: make(map[string]string, len(names))}
	for _, name := range names {
		b, err := motifFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("pictures: %w", err)
		}
		p.motifs[strings.TrimSuffix(path.Base(name), ".svg")] = string(b)
	}
	return p, nil
}

// palette is the colours of a picture. They are chosen to go together, and to be told apart without colour vision:
// body, shade and background differ in lightness.
type palette struct{ back, halo, body, shade, accent, detail string }

var palettes = [...]palette{
	{"#e8efe9", "#d3e2d7", "#2f6b5e", "#1f4b43", "#f2b65a", "#fdf6e7"}, // kelp
	{"#f6ece0", "#ecd9c0", "#c8623a", "#93431f", "#2f5d6b", "#fff5e6"}, // terracotta
	{"#e6eef3", "#cfdfe9", "#3d6f93", "#274c69", "#f0a35e", "#f5fafd"}, // tide
	{"#f4e9ea", "#e7d0d3", "#a8475a", "#742c3c", "#e9b872", "#fff3f1"}, // madder
	{"#efeee3", "#dedcc3", "#7a7a3a", "#525225", "#d9773f", "#fbfaec"}, // olive
	{"#ece9f3", "#d9d2e8", "#65548f", "#443765", "#f1b24a", "#f8f5ff"}, // heather
	{"#f7f0dc", "#efdfb4", "#d19a2a", "#96690f", "#3b5f6f", "#fffaeb"}, // amber
	{"#e9eded", "#d2dada", "#4a5a60", "#2f3b40", "#e58a5b", "#f7fafa"}, // slate
}

// draw returns the picture of a product. The same product always looks the same.
func (p *pictures) draw(motif, product string) (string, bool) {
	drawing, ok := p.motifs[motif]
	if !ok {
		return "", false
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(product))
	n := h.Sum32()
	colours := palettes[n%uint32(len(palettes))]
	var b strings.Builder
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 200">`)
	fmt.Fprintf(&b, `<rect width="200" height="200" fill="%s"/>`, colours.back)
	switch n / 8 % 4 {
	case 0: // a sun behind it
		fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="72" fill="%s"/>`, 84+n/32%33, 84+n/1024%17, colours.halo)
	case 1: // an arch
		x := 26 + n/32%24
		fmt.Fprintf(&b, `<path d="M%d 200V100a%d 64 0 0 1 %d 0v100z" fill="%s"/>`, x, 100-x, 200-2*x, colours.halo)
	case 2: // a hill
		fmt.Fprintf(&b, `<path d="M0 %dq60 -44 110 -18t90 -14V200H0z" fill="%s"/>`, 118+n/32%20, colours.halo)
	case 3: // a wave
		fmt.Fprintf(&b, `<path d="M0 %dc40 -36 70 -36 100 0s60 36 100 0V200H0z" fill="%s"/>`, 104+n/32%24, colours.halo)
	}
	fmt.Fprintf(&b, `<ellipse cx="100" cy="170" rx="62" ry="7" fill="%s" opacity=".18"/>`, colours.shade)
	b.WriteString(strings.NewReplacer("{a}", colours.body, "{b}", colours.shade, "{c}", colours.accent, "{d}", colours.detail).Replace(drawing))
	b.WriteString(`</svg>`)
	return b.String(), true
}

func (p *pictures) serve(c *gin.Context) error {
	product, isSVG := strings.CutSuffix(c.Param("file"), ".svg")
	var check shop.Check
	if !isSVG || !check.ID("file", product) {
		return failure.New(failure.NotFound, "there is no such picture")
	}
	picture, ok := p.draw(c.Param("motif"), product)
	if !ok {
		return failure.New(failure.NotFound, "there is no such picture")
	}
	c.Header("Cache-Control", "public, max-age=86400")
	c.Data(http.StatusOK, "image/svg+xml", []byte(picture))
	return nil
}
