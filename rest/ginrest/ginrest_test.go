package ginrest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rest"
	"github.com/holdfast-go/holdfast/rest/ginrest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = rest.ServerConfig{Logger: slog.New(slog.DiscardHandler)}

func do(t *testing.T, h http.Handler, method, target, body string) (*httptest.ResponseRecorder, failure.Problem) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	w := httptest.NewRecorder()
	rest.Wrap(h, quiet).ServeHTTP(w, r)
	var p failure.Problem
	if w.Header().Get("Content-Type") == failure.ProblemType {
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
	}
	return w, p
}

func TestErrorOfAHandlerIsAProblem(t *testing.T) {
	for name, engine := range map[string]*gin.Engine{"ours": ginrest.New(), "the user's": gin.New()} {
		t.Run(name, func(t *testing.T) {
			after := false
			engine.GET("/x", ginrest.Handle(func(*gin.Context) error {
				return failure.New(failure.NotFound, "no such thing").WithReason("GONE", "shop")
			}), func(*gin.Context) { after = true })
			w, p := do(t, engine, "GET", "/x", "")
			if w.Code != 404 || p.Code != "NOT_FOUND" || p.Detail != "no such thing" || p.Reason != "GONE" || p.Instance != "/x" {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if after {
				t.Error("the chain went on after an error")
			}
		})
	}
}

func TestErrorIsLeftForMiddlewareAndDoesNotSpoilAnAnswer(t *testing.T) {
	engine := ginrest.New()
	var seen error
	engine.Use(func(c *gin.Context) {
		c.Next()
		if last := c.Errors.Last(); last != nil {
			seen = last.Err
		}
	})
	cause := errors.New("late")
	engine.GET("/x", ginrest.Handle(func(c *gin.Context) error {
		c.String(http.StatusOK, "done")
		return cause
	}))
	w, _ := do(t, engine, "GET", "/x", "")
	if w.Code != 200 || w.Body.String() != "done" || !errors.Is(seen, cause) {
		t.Errorf("%d %s, middleware saw %v", w.Code, w.Body, seen)
	}
}

func TestEngineAnswersWithProblems(t *testing.T) {
	engine := ginrest.New()
	engine.GET("/x", func(*gin.Context) {})
	engine.GET("/panic", func(*gin.Context) { panic("secret") })
	for _, tt := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/nowhere", 404, "NOT_FOUND"},
		{"POST", "/x", 405, "UNIMPLEMENTED"},
		{"GET", "/panic", 500, "INTERNAL"},
	} {
		w, p := do(t, engine, tt.method, tt.path, "")
		if w.Code != tt.status || p.Status != tt.status || p.Code != tt.code || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
		if tt.status == 405 && w.Header().Get("Allow") != "GET" {
			t.Errorf("Allow %q", w.Header().Get("Allow"))
		}
	}
}

func TestPanicAfterTheAnswerBeganCutsTheConnection(t *testing.T) {
	engine := ginrest.New()
	engine.GET("/x", func(c *gin.Context) {
		c.String(http.StatusOK, "half")
		panic("late")
	})
	defer func() {
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // the very value is what net/http looks for
			t.Errorf("panic %v", v)
		}
	}()
	do(t, engine, "GET", "/x", "")
}

func TestContextIsTheRequests(t *testing.T) {
	engine := ginrest.New()
	engine.GET("/x", ginrest.Handle(func(c *gin.Context) error {
		var ctx context.Context = c
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline")
		}
		<-ctx.Done()
		return ctx.Err()
	}))
	r := httptest.NewRequest(http.MethodGet, "/x", nil)
	r.Header.Set(rest.HeaderTimeout, "5")
	w := httptest.NewRecorder()
	rest.Wrap(engine, quiet).ServeHTTP(w, r)
	if w.Code != 504 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

type base struct {
	Note string `json:"note" form:"note" binding:"max=3"`
}

type order struct {
	base
	Customer string            `json:"customer" binding:"required"`
	Items    []line            `json:"items" binding:"required,min=1,max=2,dive"`
	Labels   map[string]string `json:"labels" binding:"max=1,dive,max=2"`
	Channel  string            `json:"channel" binding:"omitempty,oneof=web shop"`
	Plain    *int              `binding:"omitempty,gt=5"`
}

type line struct {
	Product  string `json:"product" binding:"required"`
	Quantity int    `json:"quantity,omitempty" binding:"gte=1,lte=99"`
}

type query struct {
	base
	Limit int           `form:"limit" binding:"lte=100"`
	Sort  bool          `form:"sort"`
	Since time.Duration `form:"since"`
	IDs   []int         `form:"id"`
}

// Gin writes 200 for a handler that wrote nothing. One that gave up has not answered, and nobody may be told that it did.
func TestHandlerThatGaveUpIsNoSuccess(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(*gin.Context)
		status int
	}{
		{"nothing", func(*gin.Context) {}, 504},
		{"a status of its own", func(c *gin.Context) { c.Status(http.StatusAccepted) }, 202},
		{"a late answer", func(c *gin.Context) { c.String(http.StatusOK, "late") }, 200},
		{"a late header", func(c *gin.Context) { c.Header("Content-Length", "0") }, 200},
	} {
		engine := ginrest.New()
		engine.GET("/x", func(c *gin.Context) {
			<-c.Request.Context().Done()
			tt.answer(c)
		})
		r := httptest.NewRequest(http.MethodGet, "/x", nil)
		r.Header.Set(rest.HeaderTimeout, "5")
		w := httptest.NewRecorder()
		rest.Wrap(engine, quiet).ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.name, w.Code, w.Body, tt.status)
		}
	}
}

func TestBindingNamesFieldsAndPlaces(t *testing.T) {
	engine := ginrest.New()
	bind := func(f func(*gin.Context, any) error, v func() any) gin.HandlerFunc {
		return ginrest.Handle(func(c *gin.Context) error {
			v := v()
			if err := f(c, v); err != nil {
				return err
			}
			c.JSON(http.StatusOK, v)
			return nil
		})
	}
	newOrder := func() any { return new(order) }
	engine.POST("/order", bind(ginrest.Bind, newOrder))
	engine.POST("/lines", bind(ginrest.Bind, func() any { return new([]line) }))
	engine.POST("/gin", bind(func(c *gin.Context, v any) error { return c.ShouldBindJSON(v) }, newOrder))
	engine.GET("/query", bind(ginrest.BindQuery, func() any { return new(query) }))
	for _, tt := range []struct {
		method, target, body string
		status               int
		want                 []string // parts of the answer
	}{
		{"POST", "/order", `{"customer":"a","items":[{"product":"p","quantity":1}]}`, 200, nil},
		{"POST", "/order", `{}`, 400, []string{"customer is required", "items is required"}},
		{"POST", "/order", `{"customer":"a","items":[{"product":"p","quantity":1},{"quantity":100}],"note":"long","channel":"x","Plain":1,"labels":{"k":"long"}}`, 400, []string{
			"items[1].product is required", "items[1].quantity has to be at most 99", "note has to be at most 3 characters long",
			"channel has to be one of web, shop", "Plain has to be more than 5", "labels[k] has to be at most 2 characters long",
		}},
		{"POST", "/order", `{"customer":"a","items":[{},{},{}]}`, 400, []string{"items has to be at most 2 elements long"}},
		{"POST", "/order", `{"items":[{"quantity":"x"}]}`, 400, []string{"items[0].quantity has to be a whole number, not a string"}},
		{"POST", "/order", "{\n oops", 400, []string{"line 2, column 2"}},
		{"POST", "/lines", `[{"product":"p","quantity":1},{"quantity":1}]`, 400, []string{"[].product is required"}},
		{"POST", "/order", `"` + strings.Repeat("x", 2<<20), 413, []string{"BODY_TOO_LARGE"}},
		{"POST", "/gin", `{"customer":`, 400, []string{"ends too early"}},
		{"POST", "/gin", `{"customer"x`, 400, []string{"not valid JSON", "byte 12"}},
		{"POST", "/gin", `{"customer":1}`, 400, []string{"customer has to be a string, not a number"}},
		{"POST", "/gin", ``, 400, []string{"the body is empty"}},
		{"POST", "/gin", `{}`, 400, []string{"Customer is required"}},
		{"GET", "/query?limit=10&id=1&id=2&since=1m", "", 200, nil},
		{"GET", "/query?limit=ten&sort=perhaps&since=long&id=1&id=b", "", 400, []string{
			"limit has to be a whole number", "sort has to be true or false", "since has to be a duration", "id has to be a list; each element a whole number",
		}},
		{"GET", "/query?limit=1000&note=long", "", 400, []string{"limit has to be at most 100", "note has to be at most 3 characters long"}},
	} {
		t.Run(fmt.Sprintf("%s %s %.60s", tt.method, tt.target, tt.body), func(t *testing.T) {
			w, p := do(t, engine, tt.method, tt.target, tt.body)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			said := w.Body.String()
			for _, v := range p.Errors {
				said += "\n" + v.Field + " " + v.Description
			}
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("the answer lacks %q: %s", want, said)
				}
			}
		})
	}
}

func TestErrorsOfOtherServicesAreNotTheClients(t *testing.T) {
	engine := ginrest.New()
	engine.GET("/x", ginrest.Handle(func(*gin.Context) error {
		err := json.Unmarshal([]byte("{"), new(int))
		return fmt.Errorf("answer of inventory: %w", err)
	}))
	if w, _ := do(t, engine, "GET", "/x", ""); w.Code != 500 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestStreamingWorksThroughTheWrapper(t *testing.T) {
	engine := ginrest.New()
	engine.GET("/events", func(c *gin.Context) {
		n := 0
		c.Stream(func(w io.Writer) bool {
			n++
			_, _ = fmt.Fprintf(w, "data: %d\n\n", n)
			return n < 3
		})
	})
	s := httptest.NewServer(rest.Wrap(engine, quiet))
	defer s.Close()
	resp, err := s.Client().Get(s.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "data: 1\n\ndata: 2\n\ndata: 3\n\n" {
		t.Errorf("%q", body)
	}
}

func FuzzBindQuery(f *testing.F) {
	f.Add("limit=1&id=2")
	f.Add("limit=%zz&&;since=1")
	f.Add("id[]=1&note=\xff")
	engine := ginrest.New()
	engine.GET("/", ginrest.Handle(func(c *gin.Context) error { return ginrest.BindQuery(c, new(query)) }))
	f.Fuzz(func(t *testing.T, raw string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.RawQuery = raw
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, r)
		if w.Code != 200 && w.Code != 400 {
			t.Fatalf("%q: %d %s", raw, w.Code, w.Body)
		}
	})
}
