package policy

import (
	"fmt"
	"strings"
)

// Standard returns the default of a key.
func Standard(path string) string {
	for _, k := range serviceKeys() {
		if k.path == path {
			return k.standard
		}
	}
	return ""
}

// Table is the table of all keys in docs/policies.md.
func Table() string {
	var b strings.Builder
	b.WriteString("\n| key | value | default | meaning | a wrong value |\n|---|---|---|---|---|\n")
	rows(&b, serviceKeys())
	b.WriteString("\nFor each of `calls.methods`:\n\n| key | value | default | meaning | a wrong value |\n|---|---|---|---|---|\n")
	rows(&b, methodKeys())
	b.WriteString("\n")
	return b.String()
}

func rows[T any](b *strings.Builder, keys []key[T]) {
	for _, k := range keys {
		value := k.kind.String()
		switch {
		case k.kind == group:
			value = ""
		case k.kind == word:
			value = strings.Join(words, ", ")
		case k.kind == count && k.hi > 0:
			value = fmt.Sprintf("count, %s to %s", formatNumber(k.lo), formatNumber(k.hi))
		case k.kind == number && (k.hi > 0 || k.lo > 0):
			value = fmt.Sprintf("number, %s to %s", formatNumber(k.lo), formatNumber(k.hi))
		}
		if k.off != "" {
			value = strings.TrimPrefix(value+", "+k.off, ", ")
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", k.path, value, k.standard, k.meaning, k.wrong)
	}
}
