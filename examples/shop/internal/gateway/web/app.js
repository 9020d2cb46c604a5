// The storefront: looks at the address, shows the page for it.

import { cartCount, onCartChange, openCart } from "./basket.js";
import { el, link, state, unnotice } from "./dom.js";
import { list, product } from "./shelf.js";
import { cart, order, orders } from "./till.js";

const main = document.getElementById("main");
const query = document.getElementById("query");
const count = document.getElementById("cart-count");

let leaving = new AbortController(); // of the page that is shown
let opened = false;

function page(url, signal) {
  const [, place, id] = url.pathname.split("/").map(decodeURIComponent);
  switch (place) {
    case "": return list(main, url, signal);
    case "products": return product(main, id, signal);
    case "cart": return cart(main, go, signal);
    case "orders": return id ? order(main, id, signal) : orders(main, signal);
  }
  main.replaceChildren(state("Nothing here", "This page does not exist.", link("/", { class: "button" }, "To the shop")));
  return "Not found";
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const url = new URL(location.href);
  query.value = url.pathname === "/" ? url.searchParams.get("query") || "" : "";
  for (const a of document.querySelectorAll(".bar nav a")) {
    if (a.pathname === url.pathname) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  let title;
  try {
    title = await page(url, signal);
  } catch (error) {
    if (signal.aborted) return;
    title = "Not now";
    main.replaceChildren(state("The shop does not answer", "We have tried for a while. Your cart is safe on this device.",
      el("button", { class: "button", type: "button", onclick: show }, "Try again")));
  }
  if (signal.aborted) return;
  document.title = `${title} · Tidewater`;
  // Who hears the page rather than sees it is told of the new one; not on the first visit, where that is the document's.
  if (opened && document.activeElement !== query) main.querySelector("h1")?.focus({ preventScroll: true });
  opened = true;
}

function go(href) {
  unnotice();
  history.pushState(null, "", href);
  scrollTo(0, 0);
  show();
}

function drawCount() {
  const n = cartCount();
  count.textContent = n;
  count.hidden = n === 0;
  count.setAttribute("aria-label", n === 1 ? "1 thing in it" : `${n} things in it`);
}

document.addEventListener("click", (event) => {
  const a = event.target.closest?.("a[data-link]");
  if (!a || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(a.href);
});

let typing;
function search() {
  clearTimeout(typing);
  const q = query.value.trim();
  const href = q ? `/?query=${encodeURIComponent(q)}` : "/";
  if (href !== location.pathname + location.search) go(href);
}
document.getElementById("search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
query.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 300); });

addEventListener("popstate", show);
onCartChange(drawCount);
drawCount();
openCart();
show();
