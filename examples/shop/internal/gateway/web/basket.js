// The cart. This device's copy is the one that counts, so that filling it never waits for anything; the shop gets a copy
// as soon as it can be had.

import { call, get, segment } from "./api.js";

const store = {
  read(name, otherwise) {
    try { return JSON.parse(localStorage.getItem(name)) ?? otherwise; } catch { return otherwise; }
  },
  write(name, value) {
    try { value === null ? localStorage.removeItem(name) : localStorage.setItem(name, JSON.stringify(value)); } catch { /* private window: for this visit only */ }
  },
};

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

export const customer = store.read("customer", null) || `guest-${random()}`;
store.write("customer", customer);

export const maxQuantity = 99;
export const maxItems = 50;

let items = store.read("cart", []); // {product, name, picture, price, quantity}
let unsynced = new Set(store.read("unsynced", []));
const listeners = new Set();

export const cartItems = () => items;
export const cartCount = () => items.reduce((n, item) => n + item.quantity, 0);
export const quantityOf = (product) => items.find((item) => item.product === product)?.quantity ?? 0;
export const cartTotal = () => ({
  currency: items[0]?.price.currency,
  minor: items.reduce((n, item) => n + item.price.minor * item.quantity, 0),
});
export function onCartChange(listener) { listeners.add(listener); return () => listeners.delete(listener); }

function changed() {
  store.write("cart", items);
  store.write("unsynced", [...unsynced]);
  listeners.forEach((listener) => listener());
}

// setQuantity reports whether it could: a cart has at most maxItems different products.
export function setQuantity(product, quantity) {
  const at = items.findIndex((item) => item.product === product.product);
  quantity = Math.max(0, Math.min(maxQuantity, Math.trunc(quantity) || 0));
  if (at < 0 && quantity > 0 && items.length >= maxItems) return false;
  if (quantity === 0) items = items.filter((_, i) => i !== at);
  else if (at >= 0) items = items.map((item, i) => (i === at ? { ...item, quantity } : item));
  else items = [...items, { ...product, quantity }];
  unsynced.add(product.product);
  changed();
  sync();
  return true;
}

export function emptyCart() {
  for (const item of items) unsynced.add(item.product);
  items = [];
  changed();
  sync();
}

let syncing = false;

// sync brings the shop's copy up to date, one product after the other, and tries for as long as the page is open.
async function sync() {
  if (syncing) return;
  syncing = true;
  try {
    while (unsynced.size > 0) {
      const [product] = unsynced;
      const quantity = quantityOf(product);
      try {
        await call("PUT", `/api/carts/${segment(customer)}/items/${segment(product)}`, { body: { quantity }, patience: 10 * 60 * 1000 });
      } catch (error) {
        if (error.passing) break; // next time
      }
      if (quantityOf(product) === quantity) unsynced.delete(product);
      store.write("unsynced", [...unsynced]);
    }
  } finally {
    syncing = false;
  }
}

// openCart takes over what the shop has if this device has nothing, and sends what it has not got yet.
export async function openCart() {
  if (items.length === 0 && unsynced.size === 0) {
    try {
      const cart = await get(`/api/carts/${segment(customer)}`, { patience: 0 });
      if (items.length > 0 || cart.items.length === 0) return;
      items = cart.items.filter((item) => item.available)
        .map(({ product, name, picture, price, quantity }) => ({ product, name, picture, price, quantity }));
      changed();
    } catch { /* an empty cart it is */ }
    return;
  }
  sync();
}

// A checkout that has been begun: its key stands for this very order, however often it is sent, from this page or after
// a reload.
export const begunCheckout = () => store.read("checkout", null);
export const endCheckout = () => store.write("checkout", null);

export function beginCheckout(card) {
  const order = { customer, items: items.map(({ product, quantity }) => ({ product, quantity })) };
  if (card) order.card = card;
  const begun = begunCheckout();
  if (begun && JSON.stringify(begun.order) === JSON.stringify(order)) return begun;
  const checkout = { key: `checkout-${random()}${random()}`, order };
  store.write("checkout", checkout);
  return checkout;
}
