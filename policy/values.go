package policy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Value is one value of a policy as it would be written, on one line.
type Value struct {
	// Key is its path: "calls.hedge.delay", or "calls.methods./shop.v1.Orders/Get.timeout" for one of a method.
	Key string
	// Value is empty for what has its default, which Standard says.
	Value    string
	Standard string
}

// Values are those of s in the order in which a policy is written: all that a service has, and of each method those that are set. What is
// turned off as a whole is one value, "off".
func Values(s Service) []Value {
	return (&writer[Service]{keys: serviceKeys(), of: &s}).values("")
}

// values returns those of the table's keys, with prefix before each.
func (w *writer[T]) values(prefix string) []Value {
	var out []Value
	skipped := "\x00" // a prefix of no key
	for i := range w.keys {
		k := &w.keys[i]
		if strings.HasPrefix(k.path, skipped) {
			continue
		}
		switch {
		case k.isOff != nil && k.isOff(w.of):
			out = append(out, Value{prefix + k.path, k.off, k.standard})
			skipped = k.path + "."
		case k.kind == group && k.has != nil && !k.has(w.of):
			out = append(out, Value{prefix + k.path, "", k.standard})
			skipped = k.path + "."
		case k.kind == group, k.has != nil && !k.has(w.of):
		case k.kind == methods:
			of := *k.at(w.of).(*map[string]Method) //nolint:forcetypeassert // the table says so
			for _, name := range slices.Sorted(maps.Keys(of)) {
				m := of[name]
				below := (&writer[Method]{keys: methodKeys(), of: &m}).values(prefix + k.path + "." + name + ".")
				out = append(out, slices.DeleteFunc(below, func(v Value) bool { return v.Value == "" })...)
			}
		default:
			out = append(out, Value{prefix + k.path, w.text(k), k.standard})
		}
	}
	return out
}

// text is the value of a key on one line, "" for its default.
func (w *writer[T]) text(k *key[T]) string {
	lines, set := w.leaf(k, "", 0)
	switch {
	case !set:
		return ""
	case len(lines) == 1:
		return strings.TrimPrefix(lines[0], ": ")
	}
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	return "{" + strings.Join(lines[1:], ", ") + "} (" + strconv.Itoa(len(lines)-1) + ")"
}
