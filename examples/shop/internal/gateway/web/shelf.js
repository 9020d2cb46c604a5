// The list of products, and one product.

import { get, segment } from "./api.js";
import { quantityOf, setQuantity } from "./basket.js";
import { el, link, money, notice, state } from "./dom.js";

const pageSize = 24;

const inCart = ({ id, name, picture, price }) => ({ product: id, name, picture, price });

function stockText(stock) {
  if (stock === null) return ["Availability not known right now", "unknown"];
  if (stock <= 0) return ["Out of stock", "none"];
  if (stock <= 5) return [`Only ${stock} left`, "few"];
  return ["In stock", "some"];
}

function addButton(product) {
  const sold = product.stock !== null && product.stock <= 0;
  return el("button", {
    class: "add", type: "button", disabled: sold,
    "aria-label": sold ? `${product.name} is out of stock` : `Add ${product.name} to the cart`,
    onclick: () => {
      if (!setQuantity(inCart(product), quantityOf(product.id) + 1)) notice("The cart is full.", "bad");
      else notice(`${product.name} is in the cart (${quantityOf(product.id)}).`, "good");
    },
  }, sold ? "Sold out" : "Add");
}

function card(product, i) {
  const [text, kind] = stockText(product.stock);
  return el("li", { class: "card" },
    link(`/products/${segment(product.id)}`, { class: "picture", tabindex: "-1", "aria-hidden": "true" },
      el("img", { src: product.picture, alt: "", width: 200, height: 200, loading: i < 8 ? "eager" : "lazy", decoding: "async" })),
    el("h2", {}, link(`/products/${segment(product.id)}`, {}, product.name)),
    el("p", { class: `stock ${kind}` }, text),
    el("div", { class: "buy" }, el("span", { class: "price" }, money(product.price)), addButton(product)));
}

const skeleton = () => el("ul", { class: "grid", "aria-hidden": "true" }, Array.from({ length: 8 }, () => el("li", { class: "card ghost" })));

function address(query, category) {
  const q = new URLSearchParams();
  if (query) q.set("query", query);
  if (category) q.set("category", category);
  return q.size ? `/?${q}` : "/";
}

function chips(categories, query, category) {
  const chip = (id, name) => el("li", {}, link(address(query, id), { "aria-current": id === category ? "true" : null }, name));
  return el("nav", { "aria-label": "Categories" }, el("ul", { class: "chips" }, chip("", "All"), categories.map((c) => chip(c.id, c.name))));
}

// list shows the products that match the address, page after page as the customer asks for more.
export async function list(main, url, signal) {
  const query = url.searchParams.get("query") || "", category = url.searchParams.get("category") || "";
  const page = (offset) => get(`/api/products?${new URLSearchParams({ query, category, limit: pageSize, offset })}`, { signal, patience: 20000 });
  main.replaceChildren(el("p", { class: "hidden", role: "status" }, "Loading products"), skeleton());
  const first = await page(0);
  const heading = query ? `“${query}”` : first.categories.find((c) => c.id === category)?.name || "Things that last";
  const count = el("p", { class: "quiet" }, first.total === 1 ? "1 product" : `${first.total} products`);
  const grid = el("ul", { class: "grid" });
  const more = el("button", { class: "more", type: "button", onclick: onMore }, "Show more");
  let shown = 0;

  function add({ products, total }) {
    grid.append(...products.map((product, i) => card(product, shown + i)));
    shown += products.length;
    more.hidden = products.length === 0 || shown >= total;
  }

  async function onMore() {
    more.disabled = true;
    try {
      const next = shown;
      add(await page(shown));
      grid.children[next]?.querySelector("h2 a").focus();
    } catch (error) {
      if (!signal.aborted) notice(error.message, "bad");
    } finally {
      more.disabled = false;
    }
  }

  add(first);
  main.replaceChildren(
    el("div", { class: "head" }, el("h1", { tabindex: "-1" }, heading), count),
    chips(first.categories, query, category),
    first.total === 0
      ? el("div", { class: "state" }, el("p", {}, "Nothing on the shelf matches that."), link("/", { class: "button" }, "See everything"))
      : grid,
    more);
  return heading;
}

// product shows one product.
export async function product(main, id, signal) {
  main.replaceChildren(el("p", { class: "hidden", role: "status" }, "Loading"), el("div", { class: "card ghost tall", "aria-hidden": "true" }));
  let p;
  try {
    p = await get(`/api/products/${segment(id)}`, { signal, patience: 20000 });
  } catch (error) {
    if (error.status !== 404) throw error;
    main.replaceChildren(state("Not on our shelves", "There is no such product, or not any more.", link("/", { class: "button" }, "See everything")));
    return "Not found";
  }
  const [text, kind] = stockText(p.stock);
  main.replaceChildren(el("article", { class: "product" },
    el("img", { src: p.picture, alt: `Drawing: ${p.name}`, width: 400, height: 400 }),
    el("div", {},
      el("p", { class: "quiet" }, link(`/?category=${segment(p.category)}`, {}, p.category)),
      el("h1", { tabindex: "-1" }, p.name),
      el("p", { class: "description" }, p.description),
      el("p", { class: "price big" }, money(p.price)),
      el("p", { class: `stock ${kind}` }, text),
      addButton(p))));
  return p.name;
}
