package ginrest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rest"
	"github.com/holdfast-go/holdfast/rest/ginrest"
)

func Example() {
	engine := ginrest.New()
	engine.PUT("/carts/:customer", ginrest.Handle(func(c *gin.Context) error {
		var item struct {
			Product  string `json:"product" binding:"required"`
			Quantity int    `json:"quantity" binding:"gte=1"`
		}
		if err := ginrest.Bind(c, &item); err != nil {
			return err
		}
		return failure.New(failure.NotFound, "no product %s", item.Product)
	}))
	handler := rest.Wrap(engine, rest.ServerConfig{})

	for _, body := range []string{`{"product":"sock","quantity":1}`, `{"quantity":0}`} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/carts/ada", strings.NewReader(body)))
		err := failure.ReadProblem(w.Result())
		fmt.Println(w.Code, err.Message, err.Violations)
	}
	// Output:
	// 404 no product sock []
	// 400 the request is not valid [{product is required} {quantity has to be at least 1}]
}
