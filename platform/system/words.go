package system

import (
	"errors"
	"strings"
)

// split splits a command line into words as a POSIX shell does, without expanding anything: blanks separate,
// '...' is literal, in "..." a backslash escapes " and \, elsewhere it escapes any character.
func split(line string) ([]string, error) {
	var (
		words []string
		word  strings.Builder
		begun bool // a word may be empty: ''
		quote rune // the open quote, 0 outside
		slash bool // the character before was an escaping backslash
	)
	for _, c := range line {
		switch {
		case slash:
			if quote == '"' && c != '"' && c != '\\' {
				word.WriteByte('\\')
			}
			word.WriteRune(c)
			slash = false
		case c == '\\' && quote != '\'':
			slash, begun = true, true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '\'' || c == '"':
			quote, begun = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	if quote != 0 {
		return nil, errors.New("unclosed " + string(quote))
	}
	if slash {
		return nil, errors.New("nothing after the last backslash")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}
