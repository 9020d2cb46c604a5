package queue

import (
	"regexp"
	"strings"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const maxErrorText = 1024

// What may be a secret in the text of an error: credentials in a URL, and what stands after a word that announces one.
var (
	credentials = regexp.MustCompile(`://[^/\s@]*@`)
	announced   = regexp.MustCompile(`(?i)\b(password|passwd|pwd|secret|token|api[-_]?key|authorization|bearer)(["']?\s*[:=]\s*["']?(?:bearer\s+|basic\s+)?|\s+)([^\s"'&,;]+)`)
)

// scrub returns text as it may be kept for people to read: without what looks like a secret, valid, and bounded.
func scrub(text string) string {
	text = driver.Cut(strings.ToValidUTF8(text, "\uFFFD"), 4*maxErrorText)
	text = credentials.ReplaceAllString(text, "://…@")
	text = announced.ReplaceAllString(text, "$1$2…")
	return driver.Cut(text, maxErrorText)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return scrub(err.Error())
}
