package policy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/resilience"
)

// Marshal writes a policy as a document, which Parse reads back: only what is different from the defaults.
func Marshal(s Service) []byte { return document(s, false) }

// Effective writes a policy as Marshal does, with all other keys and their defaults as comments.
func Effective(s Service) []byte { return document(s, true) }

func document(s Service, all bool) []byte {
	w := &writer[Service]{keys: serviceKeys(), of: &s, all: all}
	lines, set := w.group("", 0)
	if !set {
		lines = append(lines, "{}")
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

// writer writes a mapping by a table of keys.
type writer[T any] struct {
	keys []key[T]
	of   *T
	all  bool
}

// group returns the lines of the keys below path, and whether any of them is not a comment.
func (w *writer[T]) group(path string, depth int) (lines []string, set bool) {
	in := strings.Repeat("  ", depth)
	for i := range w.keys {
		k := &w.keys[i]
		name, ok := strings.CutPrefix(k.path, path)
		if !ok || strings.Contains(name, ".") {
			continue
		}
		there := k.has == nil || k.has(w.of)
		switch {
		case k.isOff != nil && k.isOff(w.of):
			lines, set = append(lines, in+name+": "+k.off), true
		case !there:
			if w.all && k.kind == group {
				lines = append(lines, in+"# "+name+": "+k.standard)
			}
		case k.kind == group:
			below, any := w.group(k.path+".", depth+1)
			switch {
			case any || k.make != nil && w.all:
				head := name + ":"
				if !any {
					head += " {}"
				}
				lines, set = append(append(lines, in+head), below...), true
			case k.make != nil:
				lines, set = append(lines, in+name+": {}"), true
			case w.all:
				lines = append(append(lines, in+"# "+name+":"), below...)
			}
		default:
			own, has := w.leaf(k, name, depth)
			if has {
				set = true
			} else if w.all {
				own = []string{in + "# " + name + ": " + k.standard}
			}
			lines = append(lines, own...)
		}
	}
	return lines, set
}

// leaf returns the lines of one key, none if it has its default.
func (w *writer[T]) leaf(k *key[T], name string, depth int) (lines []string, set bool) {
	in := strings.Repeat("  ", depth)
	one := func(value string, set bool) ([]string, bool) {
		if !set {
			return nil, false
		}
		return []string{in + name + ": " + value}, true
	}
	switch at := k.at(w.of).(type) {
	case *time.Duration:
		if *at < 0 && k.off != "" {
			return one(k.off, true)
		}
		return one(formatDuration(*at), *at != 0)
	case *int:
		if *at < 0 && k.off != "" {
			return one(k.off, true)
		}
		return one(strconv.Itoa(*at), *at != 0)
	case *float64:
		if *at < 0 && k.off != "" {
			return one(k.off, true)
		}
		return one(formatNumber(*at), *at != 0)
	case *string:
		return one(*at, *at != "")
	case *Safe:
		return one(at.String(), *at != SafeDefault)
	case **resilience.Criticality:
		if *at == nil {
			return nil, false
		}
		return one((*at).String(), true)
	case *admission.Quota:
		return one(formatQuota(*at), *at != admission.Quota{})
	case *map[string]admission.Quota:
		if len(*at) == 0 {
			return nil, false
		}
		lines = []string{in + name + ":"}
		for _, tenant := range slices.Sorted(maps.Keys(*at)) {
			lines = append(lines, in+"  "+strconv.Quote(tenant)+": "+formatQuota((*at)[tenant]))
		}
		return lines, true
	case *map[string]Method:
		if len(*at) == 0 {
			return nil, false
		}
		lines = []string{in + name + ":"}
		for _, method := range slices.Sorted(maps.Keys(*at)) {
			m := (*at)[method]
			below, any := (&writer[Method]{keys: methodKeys(), of: &m, all: w.all}).group("", depth+2)
			head := in + "  " + strconv.Quote(method) + ":"
			if !any {
				head += " {}"
			}
			lines = append(append(lines, head), below...)
		}
		return lines, true
	}
	return nil, false
}

func formatQuota(q admission.Quota) string {
	if q.Burst == 0 {
		return formatNumber(q.Rate)
	}
	return "{rate: " + formatNumber(q.Rate) + ", burst: " + strconv.Itoa(q.Burst) + "}"
}

// formatDuration is Duration.String without units that are 0.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func formatNumber(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
