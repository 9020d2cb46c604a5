//go:build real && linux

package shop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/holdfast-go/holdfast/platform/control"
)

// A browser goes shopping, in several ways.
func TestRealStorefront(t *testing.T) {
	browser := openBrowser(t)
	site := newSite(t)
	site.writeSystem(t, site.programs)
	shop := site.up(t)

	t.Run("with a mouse", func(t *testing.T) { shopByMouse(t, shop, newVisitor(t, browser, shop.edge())) })
	t.Run("with the keyboard alone", func(t *testing.T) { shopByKeyboard(t, shop, newVisitor(t, browser, shop.edge())) })
	for _, width := range []int64{320, 360, 768} {
		t.Run(fmt.Sprintf("on a screen of %d pixels", width), func(t *testing.T) {
			shopOnASmallScreen(t, shop, newVisitor(t, browser, shop.edge()), width)
		})
	}
	t.Run("with a card without money", func(t *testing.T) { shopWithoutMoney(t, newVisitor(t, browser, shop.edge())) })
	t.Run("while the control plane is frozen", func(t *testing.T) { shopWithoutEtcd(t, shop, newVisitor(t, browser, shop.edge())) })
	t.Run("while all of orders is frozen", func(t *testing.T) { shopThroughAFreeze(t, shop, newVisitor(t, browser, shop.edge())) })
	shop.down(t)
}

// Parts of the page.
const (
	cards    = `document.querySelectorAll(".card:not(.ghost)").length`
	heading  = `document.querySelector("h1")?.textContent`
	count    = `document.getElementById("cart-count").textContent`
	notice   = `document.getElementById("notice").textContent`
	step     = `document.querySelector(".steps [aria-current=step]")?.textContent`
	progress = `document.querySelector(".progress")?.textContent`
)

func shopByMouse(t *testing.T, shop *running, v *visitor) {
	v.do("a desktop", chromedp.EmulateViewport(1280, 900))
	v.open("/")
	v.see("24 products", cards+` === 24`)
	v.checkPage("the list")
	v.click("button.more")
	v.see("more of them", cards+` === 48`)
	v.checkPage("the longer list")

	v.do("search", chromedp.SendKeys(chromedp.CSS("#query"), "mug"))
	v.see("what was searched for", heading+` === "“mug”" && `+cards+` > 0 && `+cards+` < 24`)
	if strange := ask[int](v, `[...document.querySelectorAll(".card h2")].filter((h) => !/mug/i.test(h.textContent)).length`); strange == ask[int](v, cards) {
		t.Errorf("none of the products found has mug in its name\n%s", v.look())
	}
	v.do("search for nothing", chromedp.Clear(chromedp.CSS("#query")), chromedp.SendKeys(chromedp.CSS("#query"), "submarine"))
	v.see("that there is none", `document.querySelector("main .state")?.textContent.includes("Nothing on the shelf")`)
	v.do("back", chromedp.NavigateBack())
	v.see("what was searched for before", heading+` === "“mug”"`)

	v.click(".card h2 a")
	v.see("the product", `location.pathname.startsWith("/products/") && document.querySelector(".product .description")?.textContent.length > 10`)
	v.checkPage("a product")
	v.click(".product button.add")
	v.see("one in the cart", count+` === "1"`)
	v.click(".product button.add")
	v.see("two in the cart", count+` === "2" && `+notice+`.includes("in the cart (2)")`)
	product := ask[string](v, `location.pathname.split("/")[2]`)
	v.do("load it again", chromedp.Reload())
	v.see("still two in the cart", count+` === "2"`)

	v.click("a.to-cart")
	v.see("the cart", heading+` === "Cart" && document.querySelector(".line input").value === "2"`)
	v.checkPage("the cart")
	v.click(`.line .step[aria-label^="One more"]`)
	v.see("three in the cart", count+` === "3" && document.querySelector(".line input").value === "3"`)
	v.click("button.checkout")
	o := v.ordered(shop, map[string]int{product: 3})

	v.do("load it again", chromedp.Reload())
	v.see("the order", heading+` === "Thank you" && `+step+` === "Shipped"`)
	v.click(`.bar nav a[href="/orders"]`)
	v.see("the list of orders", heading+` === "Your orders" && document.querySelector(".badge")?.textContent === "Shipped"`)
	v.checkPage("the orders")
	if link := ask[string](v, `document.querySelector(".orders a").pathname`); link != "/orders/"+o {
		t.Errorf("the list leads to %s, the order is %s", link, o)
	}
	v.checkConsole()
}

func shopByKeyboard(t *testing.T, shop *running, v *visitor) {
	v.do("a desktop", chromedp.EmulateViewport(1280, 900))
	v.open("/")
	v.see("24 products", cards+` === 24`)
	v.press(kb.Tab)
	if !ask[bool](v, `document.activeElement.matches(".skip") && document.activeElement.getBoundingClientRect().left >= 0`) {
		t.Errorf("the first stop is no visible link to the content")
	}
	v.press(kb.Enter)
	v.see("the content focused", `document.querySelector("main").contains(document.activeElement) && `+cards+` === 24`)
	v.tabTo("#query", chromedp.ModifierShift)
	v.press("linen" + kb.Enter)
	v.see("what was searched for", heading+` === "“linen”" && `+cards+` > 0`)
	v.tabTo("button.add")
	product := ask[string](v, `document.activeElement.closest(".card").querySelector("h2 a").pathname.split("/")[2]`)
	v.press(kb.Enter)
	v.see("one in the cart", count+` === "1"`)
	v.press(" ")
	v.see("two in the cart", count+` === "2"`)
	v.tabTo("a.to-cart", chromedp.ModifierShift)
	v.press(kb.Enter)
	v.see("the cart, with its heading focused", heading+` === "Cart" && document.activeElement.matches("h1")`)
	v.tabTo(`.line .step[aria-label^="One more"]`)
	v.press(" ")
	v.see("three in the cart, and the focus where it was", count+` === "3" && document.activeElement.matches('.step[aria-label^="One more"]')`)
	v.press(" ")
	v.see("four in the cart", count+` === "4"`)
	v.tabTo(`.line .step[aria-label^="One less"]`, chromedp.ModifierShift)
	v.press(" ")
	v.see("three in the cart", count+` === "3"`)
	v.tabTo("button.checkout")
	v.press(kb.Enter)
	v.ordered(shop, map[string]int{product: 3})
	if !ask[bool](v, `document.activeElement.matches("h1")`) {
		t.Errorf("after the order the focus is on %s", ask[string](v, `document.activeElement.outerHTML.slice(0, 200)`))
	}
	v.checkConsole()
}

// shopOnASmallScreen fills a cart by touch and looks at all pages.
func shopOnASmallScreen(t *testing.T, shop *running, v *visitor, width int64) {
	v.do("a phone", chromedp.EmulateViewport(width, 700, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait))
	v.open("/")
	v.see("24 products", cards+` === 24`)
	v.checkPage("the list")
	want := make(map[string]int)
	for range 3 {
		n := len(want)
		button := fmt.Sprintf(".card:nth-child(%d) button.add", n+1)
		want[ask[string](v, fmt.Sprintf(`document.querySelector(".card:nth-child(%d) h2 a").pathname.split("/")[2]`, n+1))] = 1
		v.do("tap", chromedp.ScrollIntoView(chromedp.CSS(button)), chromedp.Tap(chromedp.CSS(button)))
		v.see("it in the cart", fmt.Sprintf(count+` === "%d"`, n+1))
	}
	v.checkPage("the list with a notice")
	v.open("/?query=tea")
	v.see("what was searched for", heading+` === "“tea”"`)
	v.checkPage("a search")
	v.open("/products/stoneware-mug")
	v.see("a product", `document.querySelector(".product")`)
	v.checkPage("a product")
	v.open("/cart")
	v.see("the cart", `document.querySelectorAll(".line").length === 3`)
	v.checkPage("the cart")
	v.do("tap", chromedp.ScrollIntoView(chromedp.CSS("button.checkout")), chromedp.Tap(chromedp.CSS("button.checkout")))
	v.ordered(shop, want)
	v.checkPage("the order")
	v.open("/orders")
	v.see("the orders", `document.querySelectorAll(".orders a").length === 1`)
	v.checkPage("the orders")

	v.expected = []string{"/api/products/submarine", "/api/orders/ord-submarine", "/nowhere"}
	for _, path := range []string{"/products/submarine", "/orders/ord-submarine", "/nowhere", "/cart"} {
		v.open(path)
		v.see("that there is nothing, and the way back", `document.querySelector("main .state .button")`)
		v.checkPage(path)
	}
	v.checkConsole()
}

// shopWithoutMoney sees an order that was placed be cancelled, with nobody touching the page.
func shopWithoutMoney(t *testing.T, v *visitor) {
	v.do("a desktop", chromedp.EmulateViewport(1280, 900))
	v.open("/products/stoneware-mug")
	v.click(".product button.add")
	v.see("it in the cart", count+` === "1"`)
	v.click("a.to-cart")
	v.see("the cart", heading+` === "Cart"`)
	v.click(`.card-choice input[value="card-without-money"]`)
	v.see("what is paid with", `document.querySelector(".card-choice :checked").value === "card-without-money"`)
	v.checkPage("the cart, with a card chosen")
	v.click("button.checkout")
	v.see("that it is cancelled, and why", heading+` === "This order was cancelled" && `+step+` === "Cancelled" && `+progress+`.includes("did not come through")`)
	v.checkPage("a cancelled order")
	v.click(`.bar nav a[href="/orders"]`)
	v.see("it in the list", heading+` === "Your orders" && document.querySelector(".badge.cancelled")?.textContent === "Cancelled"`)
	v.checkPage("the orders")
	v.checkConsole()
}

// shopWithoutEtcd orders while the whole control plane is frozen: nothing is different, but that what comes after the order
// waits until messages are carried again.
func shopWithoutEtcd(t *testing.T, shop *running, v *visitor) {
	v.open("/products/stoneware-mug")
	v.click(".product button.add")
	v.see("it in the cart", count+` === "1"`)
	v.click("a.to-cart")
	v.see("the cart", heading+` === "Cart"`)
	if _, err := shop.api.Freeze(t.Context(), control.ControlService, true); err != nil {
		t.Fatal(err)
	}
	v.click("button.checkout")
	v.see("the order, which waits", heading+` === "Thank you" && `+step+` === "Placed"`)
	v.checkPage("an order that waits")
	if _, err := shop.api.Thaw(t.Context(), control.ControlService); err != nil {
		t.Fatal(err)
	}
	v.ordered(shop, map[string]int{"stoneware-mug": 1})
	v.checkConsole()
}

// shopThroughAFreeze orders while every instance that keeps the orders is frozen: the page says so, keeps trying, and it is
// one order.
func shopThroughAFreeze(t *testing.T, shop *running, v *visitor) {
	v.expected = []string{"/api/"} // 503, which browsers write to the console
	v.open("/products/stoneware-mug")
	v.click(".product button.add")
	v.see("it in the cart", count+` === "1"`)
	v.click("a.to-cart")
	v.see("the cart", heading+` === "Cart"`)
	if _, err := shop.api.Freeze(t.Context(), "orders", true); err != nil {
		t.Fatal(err)
	}
	v.click("button.checkout")
	v.see("that it takes longer", progress+`.includes("We keep trying")`)
	v.checkPage("the cart, while it waits")
	if _, err := shop.api.Thaw(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	v.ordered(shop, map[string]int{"stoneware-mug": 1})
	v.checkConsole()
}

// ordered waits for the page of an order that is shipped, without anybody touching it, holds it against what the shop has, and returns its id. The visitor has
// no other order.
func (v *visitor) ordered(shop *running, want map[string]int) string {
	v.t.Helper()
	v.see("the order", `location.pathname.startsWith("/orders/") && `+heading+` === "Thank you"`)
	v.see("that it is shipped", step+` === "Shipped"`)
	v.see("an empty cart", `document.getElementById("cart-count").hidden`)
	id := ask[string](v, `location.pathname.split("/")[2]`)
	var list struct {
		Orders []struct {
			ID     string `json:"id"`
			Status string `json:"status"`
			Items  []struct {
				Product  string `json:"product"`
				Quantity int    `json:"quantity"`
			} `json:"items"`
		} `json:"orders"`
	}
	customer := ask[string](v, `JSON.parse(localStorage.getItem("customer"))`)
	status, body := shop.get(v.t, "/api/orders?customer="+url.QueryEscape(customer))
	if err := json.Unmarshal(body, &list); err != nil || status != http.StatusOK {
		v.t.Fatalf("orders of %s: %d %s", customer, status, body)
	}
	if len(list.Orders) != 1 || list.Orders[0].ID != id || list.Orders[0].Status != "shipped" || len(list.Orders[0].Items) != len(want) {
		v.t.Fatalf("the page shows order %s of %v; the shop has %s", id, want, body)
	}
	for _, item := range list.Orders[0].Items {
		if want[item.Product] != item.Quantity {
			v.t.Errorf("%d of %s were ordered, want %d", item.Quantity, item.Product, want[item.Product])
		}
	}
	if text := ask[string](v, `document.querySelector(".order").innerText`); !strings.Contains(text, id) {
		v.t.Errorf("the page of the order does not say its number:\n%s", text)
	}
	return id
}
