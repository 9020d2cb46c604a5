// What happened when: who died, who was elected, what was ejected and why.
import { h, s, text, attr, sign, Keyed } from "./dom.js";
import { t, known } from "./i18n.js";
import { store, now } from "./store.js";
import { clock } from "./format.js";

// kindOf sorts events into kinds that have a sign, a word and a colour.
export const kindOf = (e) => {
  switch (e.state) {
    case "ejected": case "frozen": case "starting": case "draining": case "ready": case "stopped": return e.state;
    case "readmitted": return "ready";
    case "backoff": case "crash-looping": case "dead": return "dead";
    case "elected": case "deposed": return "leader";
    case "fault-begun": case "fault-ended": return "fault";
    case "scaled": case "scaling": case "restarted": case "building": case "stopping": return "info";
  }
  return "info";
};

const signs = { fault: "info" };

// eventRow makes a row; an event does not change.
export const eventRow = (e) => {
  const kind = kindOf(e);
  const who = e.instance ? h("a", { href: "#/instance/" + encodeURIComponent(e.instance) }, e.instance) : e.service ? h("a", { href: "#/service/" + encodeURIComponent(e.service) }, e.service) : "";
  // The message names the instance more often than not: it is said once.
  const name = e.instance || e.service || "";
  const words = name && e.message.startsWith(name + " ") ? e.message.slice(name.length + 1) : name && e.message.startsWith(name + ": ") ? e.message.slice(name.length + 2) : e.message;
  return { node: h("li", { class: "event is-" + kind, "data-state": e.state || undefined }, h("time", { datetime: e.time }, clock(e.time)), sign(signs[kind] ?? kind, kind),
    h("span", { class: "words" }, who, who ? " " : "", words)) };
};

const kinds = ["dead", "frozen", "ejected", "leader", "fault", "starting", "ready", "draining", "info"];
const span = 15 * 60e3;

export const events = (root) => {
  let drawn = -Infinity; // the marks
  let asked = true;
  const search = h("input", { type: "search", "aria-label": t("filter"), placeholder: t("events.filter"), oninput: () => ((asked = true), update()) });
  const off = new Set();
  const chips = kinds.map((kind) => {
    const b = h("button", { type: "button", class: "chip toggle is-" + kind, "aria-pressed": "true", onclick: () => {
      if (!off.delete(kind)) off.add(kind);
      attr(b, "aria-pressed", String(!off.has(kind)));
      asked = true;
      update();
    } }, sign(signs[kind] ?? kind, kind), t("kind." + kind));
    return b;
  });
  const found = h("output", { class: "muted small", "aria-live": "off" });
  const lanes = h("div", { class: "lanes", role: "img" });
  const list = h("ol", { class: "event-list long" });
  const empty = h("p", { class: "muted" }, t("events.none"));
  root.append(h("h1", {}, t("nav.events")),
    h("section", { class: "card", "aria-label": t("events.lanes") }, h("h2", {}, t("events.lanes")), lanes),
    h("section", { class: "card", "aria-label": t("nav.events") }, h("div", { class: "filter" }, search, h("div", { class: "chips", role: "group", "aria-label": t("events.kinds") }, chips), found), empty, list));
  const rows = new Keyed(list, eventRow);
  const laneRows = new Keyed(lanes, (lane) => {
    const under = s("svg", { class: "lane", preserveAspectRatio: "none", viewBox: "0 0 1000 16", "aria-hidden": "true" });
    const marks = new Keyed(under, (e) => {
      const node = s("rect", { width: 4, y: 2, height: 12, class: "is-" + kindOf(e) });
      return { node, update: () => attr(node, "x", (1000 - ((now() - Date.parse(e.time)) / span) * 1000).toFixed(0)) };
    });
    return { node: h("div", { class: "lane-row" }, h("span", { class: "lane-name" }, lane.name), under), update: (l) => marks.update(l.events, (e) => e.key) };
  });
  let shown = -1;
  const update = () => {
    // Nothing new, and nobody has asked: the marks move on once a second.
    const newest = store.events.reduce((most, e) => Math.max(most, e.key), 0);
    if (newest === shown && performance.now() - drawn < 900 && !asked) return;
    shown = newest;
    asked = false;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = store.events.filter((e) => !off.has(kindOf(e)) && words.every((w) => (e.message + " " + (e.instance ?? "") + " " + (e.service ?? "") + " " + known("event", e.state ?? "")).toLowerCase().includes(w)));
    rows.update(hits.slice(-400).reverse(), (e) => e.key);
    text(found, t("found", { n: hits.length, all: store.events.length }));
    empty.hidden = store.events.length > 0;
    if (performance.now() - drawn < 900) return;
    if (store.events.length) drawn = performance.now();
    const by = new Map();
    for (const e of hits) {
      if (now() - Date.parse(e.time) > span) continue;
      const name = e.service || store.byID.get(e.instance)?.service || store.live?.info.system || "";
      if (!by.has(name)) by.set(name, []);
      by.get(name).push(e);
    }
    const order = [...store.services.keys()];
    laneRows.update([...by].sort(([a], [b]) => order.indexOf(a) - order.indexOf(b)).map(([name, of]) => ({ name, events: of })), (l) => l.name);
    attr(lanes, "aria-label", t("events.lanesLabel", { n: hits.length, services: by.size }));
  };
  return { update, go({ params }) {
    if (params.has("q")) search.value = params.get("q");
    asked = true;
  } };
};
