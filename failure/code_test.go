package failure_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/failure"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./failure -update writes it):\n%s", path, got)
	}
}

const lastCode = failure.Unauthenticated //nolint:errname // it is a code

func TestTable(t *testing.T) {
	var b strings.Builder
	fmt.Fprintln(&b, "code  name                 to HTTP")
	for c := failure.OK; c <= lastCode; c++ {
		fmt.Fprintf(&b, "%4d  %-20s %d\n", c, c, failure.HTTPStatus(c))
	}
	fmt.Fprintln(&b, "\nfrom HTTP (of an answer that names no code)")
	for s := 0; s < 700; s++ {
		if c := failure.FromHTTPStatus(s); s == 0 || c != failure.FromHTTPStatus(s-1) {
			fmt.Fprintf(&b, "%4d… %s\n", s, c)
		}
	}
	golden(t, "table.txt", b.String())
}

func TestNumbersAndNamesAreThoseOfGRPC(t *testing.T) {
	if got, want := int(lastCode)+1, len(code.Code_name); got != want {
		t.Fatalf("there are %d codes, google.rpc.Code has %d", got, want)
	}
	for c := failure.OK; c <= lastCode; c++ {
		if got, want := c.String(), code.Code(c).String(); got != want {
			t.Errorf("code %d is %s, google.rpc.Code says %s", c, got, want)
		}
		if got, ok := failure.ParseCode(c.String()); !ok || got != c {
			t.Errorf("ParseCode(%s) = %v, %v", c, got, ok)
		}
		back := failure.FromHTTPStatus(failure.HTTPStatus(c))
		if failure.HTTPStatus(back) != failure.HTTPStatus(c) {
			t.Errorf("%s is sent as %d, which is read as %s, which would be sent as %d",
				c, failure.HTTPStatus(c), back, failure.HTTPStatus(back))
		}
	}
	if c, ok := failure.ParseCode("NO_SUCH"); ok || c != failure.Unknown {
		t.Errorf("ParseCode of no code = %v, %v", c, ok)
	}
	if got := failure.Code(99).String(); got != "UNKNOWN" {
		t.Errorf("Code(99) is called %s", got)
	}
}

func TestCodeOf(t *testing.T) {
	notFound := failure.New(failure.NotFound, "no such product")
	for name, test := range map[string]struct {
		err  error
		want failure.Code
	}{
		"nil":                     {nil, failure.OK},
		"plain":                   {errors.New("x"), failure.Unknown},
		"error":                   {notFound, failure.NotFound},
		"wrapped":                 {fmt.Errorf("catalog get: %w", notFound), failure.NotFound},
		"code":                    {fmt.Errorf("catalog get: %w", failure.Aborted), failure.Aborted},
		"outermost decides":       {failure.Wrap(notFound, failure.Internal, "broken"), failure.Internal},
		"unknown hides its cause": {failure.Wrap(notFound, failure.Unknown, "broken"), failure.Unknown},
		"joined, first decides":   {errors.Join(notFound, failure.Aborted), failure.NotFound},
		"joined, first that knows": {
			errors.Join(errors.New("x"), failure.Unknown, fmt.Errorf("y: %w", notFound), failure.Aborted), failure.NotFound,
		},
		"joined, none knows":     {errors.Join(errors.New("x"), failure.Unknown), failure.Unknown},
		"canceled":               {fmt.Errorf("query: %w", context.Canceled), failure.Canceled},
		"deadline":               {fmt.Errorf("query: %w", context.DeadlineExceeded), failure.DeadlineExceeded},
		"context under an error": {failure.Wrap(context.Canceled, failure.Unavailable, "gone"), failure.Unavailable},
		"status":                 {status.Error(codes.DataLoss, "x"), failure.DataLoss},
		"wrapped status":         {fmt.Errorf("call: %w", status.Error(codes.DataLoss, "x")), failure.DataLoss},
		"status of no code":      {status.Error(codes.Code(77), "x"), failure.Unknown},
		"zero error":             {&failure.Error{}, failure.Unknown},
		"OK as an error":         {fmt.Errorf("x: %w", failure.OK), failure.Unknown},
		"no code":                {failure.Code(77), failure.Unknown},
		"nil *Error":             {fmt.Errorf("x: %w", error((*failure.Error)(nil))), failure.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			if got := failure.CodeOf(test.err); got != test.want {
				t.Errorf("CodeOf(%v) = %v, want %v", test.err, got, test.want)
			}
			if got := failure.Status(test.err).Code(); got != codes.Code(test.want) {
				t.Errorf("Status(%v) = %v, want %v", test.err, got, test.want)
			}
			if e := failure.From(test.err); test.err == nil {
				if e != nil {
					t.Errorf("From(nil) = %v", e)
				}
			} else if e.Code != test.want {
				t.Errorf("From(%v).Code = %v, want %v", test.err, e.Code, test.want)
			}
		})
	}
}
