// Small things for building the page. Text is always set as text, never as markup.

// el makes an element. Attributes that are null or false are left out; on… are listeners.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// link makes a link within the shop; app.js follows it without loading the page anew.
export const link = (href, attributes, ...children) => el("a", { href, "data-link": true, ...attributes }, ...children);

const formats = new Map();

export function money({ currency, minor }) {
  if (!currency) return "";
  if (!formats.has(currency)) formats.set(currency, new Intl.NumberFormat(undefined, { style: "currency", currency }));
  const format = formats.get(currency);
  return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
}

let hide;

// notice says something at the top of the page, for a while; screen readers say it too.
export function notice(text, kind = "") {
  const node = document.getElementById("notice");
  clearTimeout(hide);
  node.textContent = text;
  node.className = `notice ${kind}`;
  node.hidden = false;
  hide = setTimeout(unnotice, 5000);
}

export function unnotice() {
  document.getElementById("notice").hidden = true;
}

// state fills the page with one message and what can be done about it.
export function state(title, text, ...actions) {
  return el("section", { class: "state" }, el("h1", { tabindex: "-1" }, title), el("p", {}, text), ...actions);
}

export const wait = (ms, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});
