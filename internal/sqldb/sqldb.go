// Package sqldb is what packages that keep tables in a user's database share: which kinds of databases there are, and how
// their schemas come to be. It knows no driver.
package sqldb

import (
	"errors"
	"fmt"
	"strings"
)

// Dialect is a kind of database.
type Dialect int

// The dialects.
const (
	// PostgreSQL is version 13 and newer.
	PostgreSQL Dialect = iota + 1
	// SQLite is version 3.38 and newer.
	SQLite
)

// String is the dialect's name in lower case.
func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "postgresql"
	case SQLite:
		return "sqlite"
	}
	return fmt.Sprintf("dialect %d", int(d))
}

// CheckPrefix says what is wrong with what names of tables begin with: they are written into statements as they are.
func CheckPrefix(prefix string) error {
	if len(prefix) > 40 {
		return fmt.Errorf("a prefix of %d bytes, at most 40 are allowed", len(prefix))
	}
	schema, name, qualified := strings.Cut(prefix, ".")
	if !qualified {
		schema, name = "a", prefix
	}
	for _, part := range []string{schema, name} {
		for i, c := range []byte(part) {
			letter := c >= 'a' && c <= 'z' || c == '_'
			if !letter && (i == 0 || c < '0' || c > '9') {
				return fmt.Errorf("prefix %q: lower-case letters, digits and '_' are allowed, after SCHEMA. if need be", prefix)
			}
		}
	}
	if schema == "" {
		return fmt.Errorf("prefix %q: no schema before the dot", prefix)
	}
	return nil
}

// State returns the SQLSTATE of an error of PostgreSQL, "" if it has none.
func State(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// Busy reports whether err says that something was locked by somebody else for too long, that transactions waited for each
// other, or could not be put in an order: nothing was done, and the same may work soon.
func Busy(err error) bool {
	switch State(err) {
	case "55P03", "40P01", "40001": // lock not available, deadlock, serialization
		return true
	}
	var e interface{ Code() int }
	if errors.As(err, &e) {
		primary := e.Code() & 0xff
		return primary == 5 || primary == 6 // SQLITE_BUSY, SQLITE_LOCKED
	}
	return false
}

// Missing reports whether err says that a table is not there.
func Missing(err error) bool {
	return State(err) == "42P01" || err != nil && strings.Contains(err.Error(), "no such table")
}
