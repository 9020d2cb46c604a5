package echorest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v5"
	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rest"
	"github.com/holdfast-go/holdfast/rest/echorest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func do(t *testing.T, h http.Handler, method, target, body string) (*httptest.ResponseRecorder, failure.Problem) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	rest.Wrap(h, rest.ServerConfig{Logger: slog.New(slog.DiscardHandler)}).ServeHTTP(w, r)
	var p failure.Problem
	if w.Header().Get("Content-Type") == failure.ProblemType {
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
	}
	return w, p
}

type order struct {
	ID    int `param:"id" query:"id"`
	Items []struct {
		Quantity int `json:"quantity"`
	} `json:"items"`
}

func TestErrorsAreProblems(t *testing.T) {
	users := echo.New()
	users.HTTPErrorHandler = echorest.ErrorHandler
	for name, e := range map[string]*echo.Echo{"ours": echorest.New(), "the user's": users} {
		bind := func(c *echo.Context) error {
			if err := c.Bind(new(order)); err != nil {
				return err
			}
			return c.NoContent(http.StatusNoContent)
		}
		e.POST("/orders", bind)
		e.GET("/orders/:id", bind)
		e.GET("/page", func(c *echo.Context) error {
			_, err := echo.QueryParam[int](c, "page")
			return err
		})
		e.GET("/failure", func(*echo.Context) error {
			return fmt.Errorf("wrapped: %w", failure.New(failure.FailedPrecondition, "out of stock").WithReason("OUT_OF_STOCK", "shop"))
		})
		e.GET("/plain", func(*echo.Context) error { return errors.New("secret") })
		e.GET("/echo", func(*echo.Context) error { return echo.NewHTTPError(418, "short and stout") })
		e.GET("/done", func(c *echo.Context) error {
			_ = c.String(http.StatusOK, "done")
			return errors.New("late")
		})
		for _, tt := range []struct {
			method, target, body string
			status               int
			code                 string
			want                 string
		}{
			{"GET", "/failure", "", 409, "FAILED_PRECONDITION", "out of stock"},
			{"GET", "/plain", "", 500, "UNKNOWN", ""},
			{"GET", "/echo", "", 418, "FAILED_PRECONDITION", "short and stout"},
			{"GET", "/nowhere", "", 404, "NOT_FOUND", "nothing at this path"},
			{"DELETE", "/orders", "", 405, "UNIMPLEMENTED", "not possible"},
			{"GET", "/done", "", 200, "", "done"},
			{"POST", "/orders", `{"items":[{"quantity":1}]}`, 204, "", ""},
			{"POST", "/orders", `{"items":[{"quantity":1},{"quantity":"x"}]}`, 400, "INVALID_ARGUMENT", "has to be a whole number, not a string"},
			{"POST", "/orders", "{\n]", 400, "INVALID_ARGUMENT", "not valid JSON"},
			{"POST", "/orders", `"` + strings.Repeat("x", 2<<20), 413, "INVALID_ARGUMENT", "larger than"},
			{"GET", "/orders/x", "", 400, "INVALID_ARGUMENT", `"field":"id"`},
			{"GET", "/page?page=x", "", 400, "INVALID_ARGUMENT", `"field":"page"`},
		} {
			t.Run(fmt.Sprintf("%s %s %s %.50s", name, tt.method, tt.target, tt.body), func(t *testing.T) {
				w, p := do(t, e, tt.method, tt.target, tt.body)
				if w.Code != tt.status || p.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) || strings.Contains(w.Body.String(), "secret") {
					t.Errorf("%d %s, want %d %s with %q", w.Code, w.Body, tt.status, tt.code, tt.want)
				}
			})
		}
	}
}

func TestBindOfOursNamesThePlace(t *testing.T) {
	e := echorest.New()
	e.POST("/", func(c *echo.Context) error { return c.Bind(new(order)) })
	for body, want := range map[string]string{
		"{\n]":                            "line 2, column 1",
		`{"items":[{},{"quantity":"x"}]}`: "items[1].quantity",
	} {
		if w, _ := do(t, e, "POST", "/", body); w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s, want %q", body, w.Code, w.Body, want)
		}
	}
}

func TestPanicIsAProblemOrACut(t *testing.T) {
	e := echorest.New()
	e.GET("/x", func(*echo.Context) error { panic("secret") })
	e.GET("/late", func(c *echo.Context) error {
		_ = c.String(http.StatusOK, "half")
		panic("late")
	})
	if w, p := do(t, e, "GET", "/x", ""); w.Code != 500 || p.Code != "INTERNAL" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // the very value is what net/http looks for
			t.Errorf("panic %v", v)
		}
	}()
	do(t, e, "GET", "/late", "")
}

func FuzzBind(f *testing.F) {
	for _, s := range []string{`{}`, `{"items":`, `{"items":[1]}`, "\x00", `[]`} {
		f.Add(s)
	}
	e := echorest.New()
	e.POST("/", func(c *echo.Context) error { return c.Bind(new(order)) })
	f.Fuzz(func(t *testing.T, body string) {
		if w, _ := do(t, e, "POST", "/", body); w.Code != 200 && w.Code != 400 {
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}

func Example() {
	e := echorest.New()
	e.GET("/products/:id", func(c *echo.Context) error {
		return failure.New(failure.NotFound, "no product %s", c.Param("id"))
	})
	w := httptest.NewRecorder()
	rest.Wrap(e, rest.ServerConfig{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/products/7", nil))
	fmt.Println(w.Code, failure.ReadProblem(w.Result()).Message)
	// Output: 404 no product 7
}
