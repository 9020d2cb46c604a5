package rest

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/resilience"
)

const (
	// maxShapes bounds the latencies that are kept for one service; what comes later shares that of its method.
	maxShapes = 128
	// shapeDepth is how many segments of a path tell one shape from another.
	shapeDepth = 3
	// maxWord is the longest segment that is taken for a word rather than for an id.
	maxWord = 24
)

// latencies holds the observed latency for each shape of request to one service. A client does not know the routes of the service,
// so it guesses them: /orders/17/items and /orders/18/items have the shape "/orders/*/items". The zero value is empty.
type latencies struct {
	mu     sync.Mutex
	shapes atomic.Pointer[map[uint64]*resilience.Latency] // copied on write
}

// of returns the latency of the shape of a request, and that of its method as a whole, which stands in for a shape that
// is not known well enough. Either may be nil. It allocates for the first request of a shape only.
func (l *latencies) of(method, path string) (exact, coarse *resilience.Latency) {
	return l.get(method, shape(method, path)), l.get(method, shape(method, ""))
}

func (l *latencies) get(method string, key uint64) *resilience.Latency {
	if m := l.shapes.Load(); m != nil {
		if found := (*m)[key]; found != nil {
			return found
		}
	}
	return l.add(method, key)
}

func (l *latencies) add(method string, key uint64) *resilience.Latency {
	l.mu.Lock()
	defer l.mu.Unlock()
	var old map[uint64]*resilience.Latency
	if m := l.shapes.Load(); m != nil {
		old = *m
	}
	if found := old[key]; found != nil {
		return found
	}
	if len(old) >= maxShapes {
		key = shape(method, "")
		if found := old[key]; found != nil {
			return found
		}
		if len(old) >= 2*maxShapes { // a caller that makes up methods
			return nil
		}
	}
	next := maps.Clone(old)
	if next == nil {
		next = make(map[uint64]*resilience.Latency, 1)
	}
	made := new(resilience.Latency)
	next[key] = made
	l.shapes.Store(&next)
	return made
}

// shape is a hash (FNV-1a, 64 bits) of the method and of the path without its ids. Two shapes with one hash share
// their latency, which does no harm.
func shape(method, path string) uint64 {
	h := hash(14695981039346656037).add(method).add(" ")
	for range shapeDepth {
		path = strings.TrimPrefix(path, "/")
		if path == "" {
			break
		}
		segment := path
		if i := strings.IndexByte(path, '/'); i >= 0 {
			segment, path = path[:i], path[i:]
		} else {
			path = ""
		}
		if len(segment) > maxWord || strings.ContainsAny(segment, "0123456789") {
			segment = "*"
		}
		h = h.add("/").add(segment)
	}
	return uint64(h)
}

type hash uint64

func (h hash) add(s string) hash {
	for i := range len(s) {
		h = (h ^ hash(s[i])) * 1099511628211
	}
	return h
}
