//go:build real && linux

package shop_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/platform/control"
)

// question is a request that is wrong, and what the answer has to be.
type question struct {
	method, path, body string
	status             int
	says               string // in the problem's text or in the name of a field
}

func (r *running) askWrongly(t *testing.T) {
	const cart = "/api/carts/ada/items/sencha"
	deep := strings.Repeat(`{"items":[`, 5000)
	for _, q := range []question{
		{"POST", "/api/orders", ``, 400, ""},
		{"POST", "/api/orders", `{`, 400, ""},
		{"POST", "/api/orders", `nonsense`, 400, ""},
		{"POST", "/api/orders", `null`, 400, ""},
		{"POST", "/api/orders", `"text"`, 400, ""},
		{"POST", "/api/orders", `{"customer":"ada","items":[}`, 400, ""},
		{"POST", "/api/orders", `{"customer":"ada"}{"customer":"ada"}`, 400, ""},
		{"POST", "/api/orders", "{\"customer\":\"\xff\xfe\",\"items\":[]}", 400, "customer"},
		{"POST", "/api/orders", `{"customer":"a\u0000b","items":[{"product":"sencha","quantity":1}]}`, 400, "customer"},
		{"POST", "/api/orders", `{"customer":"ada","items":[{"product":"sencha","quantity":-1}]}`, 400, "items[0].quantity"},
		{"POST", "/api/orders", `{"customer":"ada","items":[{"product":"sencha","quantity":1e400}]}`, 400, "quantity"},
		{"POST", "/api/orders", `{"customer":"ada","items":[{"product":"sencha","quantity":99999999999999999999}]}`, 400, "quantity"},
		{"POST", "/api/orders", `{"customer":"ada","items":[{"product":"../../etc/passwd","quantity":1}]}`, 400, "items[0].product"},
		{"POST", "/api/orders", `{"customer":["ada"],"items":{}}`, 400, ""},
		{"POST", "/api/orders", deep, 400, ""},
		{"POST", "/api/orders", strings.Repeat("[", 60_000), 400, ""},
		{"POST", "/api/orders", `{"customer":"` + strings.Repeat("a", 70_000) + `"}`, 413, ""},
		{"PUT", cart, `{"quantity":"many"}`, 400, "quantity"},
		{"PUT", cart, `{"quantity":1.5}`, 400, "quantity"},
		{"PUT", cart, `{"quantity":2147483648}`, 400, "quantity"},
		{"PUT", cart, strings.Repeat(`{"quantity":`, 5000), 400, ""},
		{"PUT", "/api/carts/a%00b/items/sencha", `{"quantity":1}`, 400, "customer"},
		{"PUT", "/api/carts/ada/items/%2e%2e%2f", `{"quantity":1}`, 405, ""},
		{"GET", "/api/carts/" + strings.Repeat("a", 5000), "", 400, "customer"},
		{"GET", "/api/orders/%ff%fe", "", 400, "UTF-8"},
		{"GET", "/api/orders/" + strings.Repeat("a", 5000), "", 400, "id"},
		{"GET", "/api/orders/ord-nothing", "", 404, ""},
		{"GET", "/api/orders?customer=%00", "", 400, "customer"},
		{"GET", "/api/orders?customer=a&customer=b", "", 0, ""},
		{"GET", "/api/products/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "", 404, ""},
		{"GET", "/api/products?limit=-1", "", 400, "limit"},
		{"GET", "/api/products?offset=9223372036854775808", "", 400, "offset"},
		{"GET", "/api/products?query=%ff%fe%00", "", 400, "UTF-8"},
		{"GET", "/api/nothing", "", 404, ""},
		{"BREW", "/api/products", "", 405, ""},
		{"TRACE", "/", "", 405, ""},
	} {
		r.ask(t, "http://"+r.site.edge, "", q)
	}
}

func (r *running) steerWrongly(t *testing.T) {
	const kill, scale = "/v1/kill", "/v1/scale"
	r.ask(t, "http://"+r.control, "", question{"POST", kill, `{"target":"orders-1"}`, 401, "token"})
	c := control.NewClient(r.control)
	defer c.Close()
	made, err := c.Token(t.Context(), control.Operate)
	if err != nil {
		t.Fatal(err)
	}
	r.token = made.Token
	defer func() { r.token = "" }()
	for _, q := range []question{
		{"POST", kill, ``, 400, "empty"},
		{"POST", kill, `{`, 400, "JSON"},
		{"POST", kill, `[]`, 400, "JSON"},
		{"POST", kill, `{}`, 400, "target"},
		{"POST", kill, `{"target":"nothing"}`, 404, "nothing"},
		{"POST", kill, `{"target":"orders"}`, 400, "orders-1"},
		{"POST", kill, `{"target":"orders-1","force":true}`, 400, "force"},
		{"POST", kill, `{"target":"orders-1"}{"target":"orders-2"}`, 400, "more than one"},
		{"POST", kill, `{"target":"` + strings.Repeat("a", 200) + `"}`, 400, "target"},
		{"POST", kill, `{"target":"` + strings.Repeat("a", 1<<20) + `"}`, 400, "larger"},
		{"POST", kill, strings.Repeat("[", 10_000), 400, "JSON"},
		{"POST", scale, `{"service":"inventroy","replicas":1}`, 404, "inventory"},
		{"POST", scale, `{"service":"orders"}`, 400, "replicas"},
		{"POST", scale, `{"service":"orders","replicas":-1}`, 400, "replicas"},
		{"POST", scale, `{"service":"orders","replicas":1000000}`, 400, "replicas"},
		{"POST", scale, `{"service":"control","replicas":1}`, 0, ""},
		{"GET", "/v1/logs?lines=many", "", 400, "lines"},
		{"GET", "/v1/logs?service=nothing", "", 404, "nothing"},
		{"GET", "/v1/nothing", "", 404, "/v1/nothing"},
	} {
		r.ask(t, "http://"+r.control, "", q)
	}
	// What a page elsewhere can make a browser send.
	foreign := question{"POST", kill, `{"target":"orders-1"}`, 403, ""}
	r.ask(t, "http://"+r.control, "http://example.com", foreign)
	r.ask(t, "http://"+r.control, "null", foreign)
}

// ask wants a client error that says what is wrong. Status 0 is for what may be taken one way or the other.
func (r *running) ask(t *testing.T, base, origin string, q question) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), q.method, base+q.path, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "wrong")
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	name := fmt.Sprintf("%s %.60s %.60q", q.method, q.path, q.body)
	resp, err := r.http.Do(req)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		t.Errorf("%s: %v", name, err)
	case q.status == 0 && resp.StatusCode < 500:
	case resp.StatusCode != q.status:
		t.Errorf("%s: %d, want %d: %s", name, resp.StatusCode, q.status, body)
	case !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json"):
		t.Errorf("%s: content type %q: %s", name, resp.Header.Get("Content-Type"), body)
	case !json.Valid(body) || len(body) > 16<<10:
		t.Errorf("%s: %d bytes: %.200s", name, len(body), body)
	case !strings.Contains(string(body), q.says):
		t.Errorf("%s: no word of %s: %s", name, q.says, body)
	}
}
