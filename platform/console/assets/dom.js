// Elements and text, and nothing else: what comes from the system reaches the page only as text nodes and attributes.
const SVG = "http://www.w3.org/2000/svg";

const fill = (node, props, children) => {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) node.append(child); // a string becomes a text node
  }
  return node;
};

// h makes an element: h("a", {href: "#/", onclick: f}, "text", other, …). Attributes that are undefined, null or false are left out.
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

// s is h for SVG.
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

// text sets a node's text if it differs: most of what is updated ten times a second has not changed.
export const text = (node, value) => {
  const str = String(value);
  if (node.said !== str) {
    node.said = str;
    node.textContent = str;
  }
};

// attr sets an attribute if it differs; undefined, null and false remove it.
export const attr = (node, name, value) => {
  const said = (node.attrs ??= {});
  const str = value === undefined || value === null || value === false ? undefined : value === true ? "" : String(value);
  if (said[name] === str && (str !== undefined || !node.hasAttribute(name))) return;
  said[name] = str;
  if (str === undefined) node.removeAttribute(name);
  else node.setAttribute(name, str);
};

// Keyed keeps the children of parent in step with a list: make(item) returns {node, update(item)} once for a key (gone(), if it has it, is
// told when the key has gone), update is
// called each time, and a node is only moved if it stands in another place.
export class Keyed {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.kept = new Map();
  }
  update(items, keyOf) {
    const seen = new Set();
    let place = this.parent.firstChild;
    for (const item of items) {
      const key = keyOf(item);
      if (seen.has(key)) continue;
      seen.add(key);
      let row = this.kept.get(key);
      if (!row) this.kept.set(key, (row = this.make(item)));
      row.update?.(item);
      if (row.node === place) place = place.nextSibling;
      else this.parent.insertBefore(row.node, place);
    }
    for (const [key, row] of this.kept) {
      if (seen.has(key)) continue;
      row.node.remove();
      row.gone?.();
      this.kept.delete(key);
    }
  }
}

// shapes are the states' signs: each is told from the others without colour.
const shapes = {
  ready: [["circle", { cx: 8, cy: 8, r: 6 }]],
  starting: [["circle", { cx: 8, cy: 8, r: 5, class: "line" }], ["path", { d: "M8 8V3a5 5 0 0 1 5 5z" }]],
  draining: [["circle", { cx: 8, cy: 8, r: 5, class: "line" }], ["path", { d: "M3 8a5 5 0 0 0 10 0z" }]],
  frozen: [["rect", { x: 3, y: 2, width: 4, height: 12, rx: 1 }], ["rect", { x: 9, y: 2, width: 4, height: 12, rx: 1 }]],
  dead: [["path", { d: "M3 3l10 10M13 3L3 13", class: "line thick" }]],
  ejected: [["circle", { cx: 8, cy: 8, r: 5.5, class: "line" }], ["path", { d: "M4 12l8-8", class: "line" }]],
  unknown: [["circle", { cx: 8, cy: 8, r: 5, class: "line dashed" }]],
  stopped: [["rect", { x: 3.5, y: 3.5, width: 9, height: 9, rx: 1.5, class: "line" }]],
  warn: [["path", { d: "M8 1.5L15 14H1z" }], ["path", { d: "M8 6v4M8 11.6v.6", class: "cut" }]],
  info: [["circle", { cx: 8, cy: 8, r: 6.5 }], ["path", { d: "M8 7v4.5M8 4v.8", class: "cut" }]],
  leader: [["path", { d: "M2 12.5L1.5 4l3.7 3.2L8 2l2.8 5.2L14.5 4 14 12.500z" }]],
  retried: [["path", { d: "M12.5 8a4.5 4.5 0 1 1-1.4-3.300M12.8 1.800v3.400H9.4", class: "line" }]],
  hedged: [["path", { d: "M1.5 8h4l4-4H14M5.5 8l4 4H14", class: "line" }]],
  slow: [["circle", { cx: 8, cy: 8, r: 6, class: "line" }], ["path", { d: "M8 4.500V8l2.5 1.8", class: "line" }]],
};

// sign draws one of the shapes. It is decoration: the words beside it, or the label of what it stands in, say the same.
export const sign = (name, kind) => {
  const node = s("svg", { viewBox: "0 0 16 16", class: "sign", "aria-hidden": "true" });
  resign(node, name, kind);
  return node;
};

// resign changes what a sign shows.
export const resign = (node, name, kind = name) => {
  if (node.shape !== name) {
    node.shape = name;
    node.replaceChildren(...(shapes[name] ?? shapes.unknown).map(([tag, props]) => s(tag, props)));
  }
  attr(node, "class", "sign is-" + kind);
};

// spark draws values as a line in an svg of viewBox "0 0 width height"; the scale begins at 0.
export const spark = (path, values, width, height, most = 0) => {
  const max = Math.max(most, ...values) * 1.25 || 1; // room above, so that the line is not mistaken for a rule
  const step = width / Math.max(1, values.length - 1);
  attr(path, "d", values.map((v, i) => (i ? "L" : "M") + (i * step).toFixed(1) + " " + (height - 1 - (v / max) * (height - 2)).toFixed(1)).join(""));
};

export const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
