// The cart's page, the checkout, and orders.

import { call, get, segment } from "./api.js";
import {
  beginCheckout, begunCheckout, cartCount, cartItems, cartTotal, customer, emptyCart, endCheckout, maxQuantity, onCartChange, setQuantity,
} from "./basket.js";
import { el, link, money, notice, state, wait } from "./dom.js";

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
  const card = (value, label, detail) => el("label", { class: "card-choice" },
    el("input", { type: "radio", name: "card", value, checked: value === (begunCheckout()?.order.card ?? "") }),
    el("span", {}, label, el("span", { class: "quiet" }, detail)));
  const cards = el("fieldset", { class: "cards" }, el("legend", {}, "Pay with"),
    card("", "A card that works", "settled in a moment"),
    card("card-without-money", "A card without money", "see how an order is cancelled"));

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
        el("section", { class: "till", "aria-label": "Checkout" }, cards, el("p", {}, "Total ", total), button, progress));
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
    lines.inert = cards.inert = true;
    say("Placing your order…", "working");
    const { key, order } = beginCheckout(cards.querySelector(":checked")?.value);
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
      lines.inert = cards.inert = false;
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
      case "PAYMENT_FAILED":
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

const statusText = { pending: "Being placed", placed: "Placed", paid: "Paid", shipped: "Shipped", cancelled: "Cancelled" };
const way = ["placed", "paid", "shipped"];
const comes = {
  pending: "We are placing your order.",
  placed: "The goods are set aside. We wait for your bank to settle the payment.",
  paid: "Your payment is settled. The parcel is being packed.",
  shipped: "Your parcel is on its way.",
};
const reasons = {
  OUT_OF_STOCK: "something in it was out of stock", PAYMENT_DECLINED: "the payment was declined", GIVEN_UP: "it took too long",
  PAYMENT_FAILED: "the payment did not come through",
};

// steps is how far an order has got: one that was cancelled did not get beyond being placed.
function steps(status) {
  const names = status === "cancelled" ? ["placed", "cancelled"] : way;
  const at = names.indexOf(status);
  return el("ol", { class: `steps ${status}`, "aria-label": "Progress" }, names.map((name, i) => el("li", {
    class: i <= at ? "done" : i === at + 1 ? "next" : "", "aria-current": i === at ? "step" : null,
  }, statusText[name])));
}

// order shows one order, and follows it while it is on its way.
export async function order(main, id, signal) {
  main.replaceChildren(el("p", { class: "hidden", role: "status" }, "Loading"));
  const load = (options) => get(`/api/orders/${segment(id)}`, { signal, ...options });
  let o;
  try {
    o = await load({ patience: 40000, waiting: () => notice("The shop is slow right now. One moment…") });
  } catch (error) {
    if (error.status !== 404) throw error;
    main.replaceChildren(state("No such order", "We know no order with this number.", link("/orders", { class: "button" }, "Your orders")));
    return "Not found";
  }
  const title = el("h1", { tabindex: "-1" });
  const news = el("section", { class: "news", "aria-live": "polite" });
  function draw() {
    title.textContent = o.status === "cancelled" ? "This order was cancelled" : "Thank you";
    news.replaceChildren(...[
      steps(o.status),
      o.status === "cancelled"
        ? el("p", { class: "progress bad" }, `Cancelled because ${reasons[o.reason] || "it could not be fulfilled"}. You keep your money, and the goods are back on the shelf.`)
        : el("p", { class: "comes" }, comes[o.status]),
      o.parcel ? el("p", { class: "quiet" }, "Parcel ", el("code", {}, o.parcel.label), `, ${new Date(o.parcel.shipped).toLocaleString()}`) : null,
    ].filter(Boolean));
  }
  draw();
  main.replaceChildren(el("article", { class: "order" },
    title,
    el("p", { class: "quiet" }, "Order ", el("code", {}, o.id), `, ${new Date(o.created).toLocaleString()}`),
    news,
    el("ul", { class: "lines" }, o.items.map((item) => el("li", { class: "line" },
      el("div", { class: "what" }, link(`/products/${segment(item.product)}`, {}, item.name), el("span", { class: "quiet" }, `${item.quantity} × ${money(item.price)}`)),
      el("strong", { class: "price" }, money({ ...item.price, minor: item.price.minor * item.quantity }))))),
    el("section", { class: "till", "aria-label": "Total" }, el("p", {}, "Total ", el("strong", { class: "price big" }, money(o.total))))));
  follow();
  return `Order ${o.id}`;

  // follow asks every second at first, then less and less often, and changes only what is new.
  async function follow() {
    for (let pause = 1000; !["shipped", "cancelled"].includes(o.status); pause = Math.min(pause * 1.3, 10000)) {
      try {
        await wait(pause, signal);
        const now = await load({ patience: 0 });
        if (now.status === o.status) continue;
        o = now;
        draw();
      } catch {
        if (signal.aborted) return;
      }
    }
  }
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
