package sqldb_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/holdfast-go/holdfast/internal/sqldb"
)

func TestCheckPrefix(t *testing.T) {
	for prefix, ok := range map[string]bool{
		"holdfast_": true, "": true, "a1_": true, "shop.holdfast_": true, "shop.": true, "_": true,
		"1a": false, "A_": false, "a b": false, "a'": false, ".a": false, "a.b.c": false, "é": false, strings.Repeat("a", 41): false,
	} {
		if err := sqldb.CheckPrefix(prefix); (err == nil) != ok {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}

// FuzzCheckPrefix: what is let through can stand in a statement.
func FuzzCheckPrefix(f *testing.F) {
	f.Add("holdfast_")
	f.Add("a.b'")
	f.Fuzz(func(t *testing.T, prefix string) {
		if sqldb.CheckPrefix(prefix) == nil && strings.Trim(prefix, "abcdefghijklmnopqrstuvwxyz_0123456789.") != "" {
			t.Errorf("%q", prefix)
		}
	})
}

func TestLoad(t *testing.T) {
	files := fstest.MapFS{
		"sqlite/0001_one_table.sql":         {Data: []byte("CREATE TABLE {{prefix}}t (a text);\nCREATE INDEX {{name}}i ON {{prefix}}t (a);\n")},
		"sqlite/0002_more.sql":              {Data: []byte("INSERT INTO {{prefix}}t VALUES (';');\n")},
		"postgresql/0002_first_is_gone.sql": {Data: []byte("SELECT 1;\n")},
	}
	m, err := sqldb.Load(files, sqldb.SQLite, "shop.x_")
	if err != nil || len(m) != 2 {
		t.Fatalf("%v, %v", m, err)
	}
	if got := fmt.Sprintf("%q", m); got != `["-- 1: one table\nCREATE TABLE shop.x_t (a text);\nCREATE INDEX x_i ON shop.x_t (a);\n" "-- 2: more\nINSERT INTO shop.x_t VALUES (';');\n"]` {
		t.Errorf("%s", got)
	}
	if _, err := sqldb.Load(files, sqldb.PostgreSQL, "x_"); err == nil {
		t.Error("a gap in the numbers")
	}
	if _, err := sqldb.Load(files, 7, "x_"); err == nil {
		t.Error("a dialect that there is not")
	}
	if _, err := sqldb.Load(files, sqldb.SQLite, "x'"); err == nil {
		t.Error("a prefix that would be a statement")
	}
}

type stateError string

func (e stateError) Error() string    { return string(e) }
func (e stateError) SQLState() string { return string(e) }

type codeError int

func (e codeError) Error() string { return "sqlite" }
func (e codeError) Code() int     { return int(e) }

func TestWhatAnErrorSays(t *testing.T) {
	for _, c := range []struct {
		err           error
		busy, missing bool
	}{
		{nil, false, false},
		{errors.New("other"), false, false},
		{fmt.Errorf("wrapped: %w", stateError("40P01")), true, false},
		{stateError("40001"), true, false},
		{stateError("55P03"), true, false},
		{stateError("42P01"), false, true},
		{stateError("23505"), false, false},
		{codeError(5), true, false},
		{codeError(5 | 2<<8), true, false},
		{codeError(6), true, false},
		{codeError(19), false, false},
		{errors.New("SQL logic error: no such table: x (1)"), false, true},
	} {
		if busy, missing := sqldb.Busy(c.err), sqldb.Missing(c.err); busy != c.busy || missing != c.missing {
			t.Errorf("%v: busy %v, missing %v", c.err, busy, missing)
		}
	}
}
