// The cart's page, the checkout, and orders.

import { call, get, segment } from "./api.js";
import {
  beginCheckout, begunCheckout, cartCount, cartItems, cartTotal, customer, emptyCart, endCheckout, maxQuantity, onCartChange, setQuantity,
} from "./basket.js";
import { el, link, money, notice, state } from "./dom.js";

const checkoutPatience = 90 * 1000; // the store may be away for as long, and the order is safe to repeat

function line(item) {
  const label = `Quantity of ${item.name}`;
  const step = (by, text) => el("button", {
    type: "button", class: "step", "aria-label": `${text}: ${item.name}`, disabled: item.quantity + by > maxQuantity,
    onclick: () => setQuantity(item, item.quantity + by),
  }, by > 0 ? "+" : "−");
  return el("li", { class: "line", "data-product": item.product },
    el("img", { src: item.picture, alt: "", width: 72, height: 72 }),
    el("div", { class: "what" }, link(`/products/${segment(item.product)}`, {}, item.name), el("span", { class: "quiet" }, money(item.price))),
    el("div", { class: "amount" }, step(-1, "One less"),
      el("input", {
        type: "number", inputmode: "numeric", min: 0, max: maxQuantity, value: item.quantity, "aria-label": label,
        onchange: (event) => setQuantity(item, event.target.value),
      }), step(1, "One more")),
    el("strong", { class: "price" }, money({ ...item.price, minor: item.price.minor * item.quantity })));
}

// cart shows the cart and takes it to the till. go leads to another page of the shop.
export async function cart(main, go, signal) {
  let busy = false;
  const lines = el("ul", { class: "lines" });
  const total = el("strong", { class: "price big" });
  const progress = el("p", { class: "progress", role: "status", "aria-live": "polite" });
  const button = el("button", { type: "button", class: "button checkout", onclick: checkout }, "Place the order");

  function draw() {
    if (busy) return;
    if (cartItems().length === 0) {
      main.replaceChildren(state("Your cart is empty", "Nothing in it yet.", link("/", { class: "button" }, "Look around")));
      return;
    }
    const focused = document.activeElement?.closest?.("[data-product]")?.dataset.product;
    const label = document.activeElement?.getAttribute?.("aria-label");
    lines.replaceChildren(...cartItems().map(line));
    total.textContent = money(cartTotal());
    button.textContent = begunCheckout() ? "Try again" : "Place the order";
    if (!main.contains(lines)) {
      main.replaceChildren(el("h1", { tabindex: "-1" }, "Cart"), lines,
        el("section", { class: "till", "aria-label": "Checkout" }, el("p", {}, "Total ", total), button, progress));
    }
    if (focused && label) lines.querySelector(`[data-product="${CSS.escape(focused)}"] [aria-label="${CSS.escape(label)}"]`)?.focus();
  }

  function say(text, kind = "") {
    progress.textContent = text;
    progress.className = `progress ${kind}`;
  }

  async function checkout() {
    if (busy) return;
    busy = true;
    button.disabled = true;
    lines.inert = true;
    say("Placing your order…", "working");
    const { key, order } = beginCheckout();
    try {
      const placed = await call("POST", "/api/orders", {
        key, body: order, patience: checkoutPatience,
        waiting: () => say("The shop is slow right now. We keep trying: this is one order, and it is charged once.", "working"),
      });
      endCheckout();
      busy = false;
      emptyCart();
      if (!signal.aborted) go(`/orders/${segment(placed.id)}`);
      notice("Thank you! Your order is placed.", "good");
    } catch (error) {
      busy = false;
      failed(error);
    } finally {
      button.disabled = false;
      lines.inert = false;
    }
  }

  function failed(error) {
    if (error.passing) {
      draw();
      say("The shop could not take the order just now. Nothing is lost: try again, it stays one order and is charged once.", "bad");
      return;
    }
    endCheckout(); // the answer to this key will not change
    draw();
    const item = cartItems().find((i) => i.product === error.metadata.product);
    switch (error.reason) {
      case "OUT_OF_STOCK":
        say(`Only ${error.metadata.available ?? 0} of ${item?.name ?? error.metadata.product ?? "a product"} left. Please change the quantity and order again.`, "bad");
        break;
      case "PAYMENT_DECLINED":
        say("The payment was declined. Nothing was charged.", "bad");
        break;
      case "NO_PRODUCT":
        say(`${item?.name ?? "A product"} is not for sale any more. Please take it out of the cart.`, "bad");
        break;
      default:
        say([error.message, ...error.fields.map((f) => f.description || f.detail || "")].join(" "), "bad");
    }
    button.focus();
  }

  const stop = onCartChange(draw);
  signal.addEventListener("abort", stop, { once: true });
  draw();
  if (begunCheckout() && cartCount() > 0) say("Your last order was not finished. Try again: it stays one order and is charged once.", "bad");
  return "Cart";
}

const statusText = {
  pending: "Being prepared", reserved: "Goods set aside", paid: "Paid", confirmed: "Confirmed", undoing: "Being cancelled", rejected: "Cancelled",
};
const way = ["pending", "reserved", "paid", "confirmed"];
const reasons = {
  OUT_OF_STOCK: "something in it was out of stock", PAYMENT_DECLINED: "the payment was declined", GIVEN_UP: "it took too long",
};

function steps(status) {
  const at = way.indexOf(status);
  if (at < 0) return null;
  return el("ol", { class: "steps", "aria-label": "Progress" }, way.map((name, i) => el("li", {
    class: i <= at ? "done" : "", "aria-current": i === at ? "step" : null,
  }, statusText[name])));
}

// order shows one order, and follows it while it is on its way.
export async function order(main, id, signal) {
  main.replaceChildren(el("p", { class: "hidden", role: "status" }, "Loading"));
  let o;
  try {
    o = await get(`/api/orders/${segment(id)}`, { signal, patience: 40000, waiting: () => notice("The shop is slow right now. One moment…") });
  } catch (error) {
    if (error.status !== 404) throw error;
    main.replaceChildren(state("No such order", "We know no order with this number.", link("/orders", { class: "button" }, "Your orders")));
    return "Not found";
  }
  main.replaceChildren(el("article", { class: "order" },
    el("h1", { tabindex: "-1" }, o.status === "rejected" ? "This order was cancelled" : "Thank you"),
    el("p", { class: "quiet" }, "Order ", el("code", {}, o.id), `, ${new Date(o.created).toLocaleString()}`),
    o.reason ? el("p", { class: "progress bad" }, `Cancelled because ${reasons[o.reason] || "it could not be fulfilled"}. Nothing was charged.`) : null,
    steps(o.status),
    el("ul", { class: "lines" }, o.items.map((item) => el("li", { class: "line" },
      el("div", { class: "what" }, link(`/products/${segment(item.product)}`, {}, item.name), el("span", { class: "quiet" }, `${item.quantity} × ${money(item.price)}`)),
      el("strong", { class: "price" }, money({ ...item.price, minor: item.price.minor * item.quantity }))))),
    el("section", { class: "till", "aria-label": "Total" }, el("p", {}, "Total ", el("strong", { class: "price big" }, money(o.total))))));
  if (!["confirmed", "rejected"].includes(o.status)) {
    const timer = setTimeout(() => { if (!signal.aborted) order(main, id, signal).catch(() => {}); }, 2000);
    signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  }
  return `Order ${o.id}`;
}

// orders lists the customer's orders.
export async function orders(main, signal) {
  main.replaceChildren(el("p", { class: "hidden", role: "status" }, "Loading"));
  const { orders: found } = await get(`/api/orders?customer=${segment(customer)}`, {
    signal, patience: 40000, waiting: () => notice("The shop is slow right now. One moment…"),
  });
  if (found.length === 0) {
    main.replaceChildren(state("No orders yet", "What you order with this browser is listed here.", link("/", { class: "button" }, "Look around")));
    return "Orders";
  }
  main.replaceChildren(el("h1", { tabindex: "-1" }, "Your orders"), el("ul", { class: "orders" }, found.map((o) => el("li", {},
    link(`/orders/${segment(o.id)}`, {},
      el("span", {}, o.items.map((i) => i.name).join(", ")),
      el("span", { class: "quiet" }, new Date(o.created).toLocaleString()),
      el("span", { class: `badge ${o.status}` }, statusText[o.status] || o.status),
      el("strong", { class: "price" }, money(o.total)))))));
  return "Orders";
}
