package telemetry

import "strings"

// Secret reports whether something of that name, such as a setting or an attribute, is a secret, or may have one in it. It errs
// on the side of secrecy.
func Secret(key string) bool {
	key = strings.ToLower(key)
	for _, word := range []string{
		"secret", "token", "passw", "passphrase", "pwd", "credential", "auth", "apikey", "api_key", "api-key", "api.key", "private", "headers", "cookie", "session", "signature",
		"_key", ".key", "-key", "accesskey",
	} {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}
