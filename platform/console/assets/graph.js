// The system as a graph: what is wrong first, then who calls whom, then what happened last.
import { h, s, text, attr, sign, resign, Keyed } from "./dom.js";
import { figuresBox } from "./figures.js";
import { t, tn } from "./i18n.js";
import { store, shown, rank, whole, verdict, failing, edgeKey, ago } from "./store.js";
import { rate, share, duration, none, clock } from "./format.js";
import { arrange, ways } from "./layout.js";
import { servicePanel } from "./service.js";
import { drop } from "./api.js";
import { toast, said } from "./dialog.js";
import { eventRow } from "./events.js";

const maxDots = 12;

export const graph = (root) => {
  const word = h("h1", { class: "verdict" });
  const lead = h("p", { class: "lead" });
  const list = h("ul", { class: "problems" });
  const figures = figuresBox();
  const more = h("p", { class: "muted small" });
  const top = h("section", { class: "card now", "aria-label": t("now.label") }, h("div", { class: "now-words" }, word, lead), figures.node, list, more);
  const faults = h("ul", { class: "faults" });
  const faultBox = h("section", { class: "card fault-box", hidden: true, "aria-label": t("faults.title") }, h("h2", {}, t("faults.title")), faults);
  const canvas = h("div", { class: "canvas" });
  const table = h("div", { class: "table-box", hidden: true });
  const toggle = h("button", { type: "button", class: "quiet small", "aria-pressed": "false", onclick: () => {
    table.hidden = !table.hidden;
    canvas.parentNode.hidden = !table.hidden;
    attr(toggle, "aria-pressed", String(!table.hidden));
    update();
  } }, t("graph.table"));
  const picture = h("section", { class: "card picture", "aria-label": t("graph.title") },
    h("div", { class: "head" }, h("h2", {}, t("graph.title")), h("span", { class: "muted small" }, t("graph.legend")), toggle),
    h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t("graph.title") }, canvas), table);
  const recent = h("ol", { class: "event-list" });
  const recentBox = h("section", { class: "card recent", "aria-label": t("recent.title") }, h("div", { class: "head" }, h("h2", {}, t("recent.title")), h("a", { href: "#/events", class: "small" }, t("recent.all"))), recent);
  const panel = h("aside", { class: "panel", hidden: true });
  const side = h("div", { class: "side" }, panel);
  root.append(top, faultBox, h("div", { class: "split" }, h("div", { class: "wide" }, picture, recentBox), side));

  const problems = new Keyed(list, () => {
    const mark = sign("warn");
    const words = h("a", {});
    const since = h("span", { class: "muted small" });
    const node = h("li", {}, mark, words, since);
    return { node, update(p) {
      attr(node, "class", "is-" + p.level);
      resign(mark, p.level === "bad" ? "dead" : p.level === "warn" ? "warn" : "info", p.level);
      text(words, p.text);
      attr(words, "href", p.href);
      text(since, p.since ? t("since", { age: ago(p.since) }) : "");
    } };
  });
  const faultRows = new Keyed(faults, (f) => {
    const words = h("span", {});
    const node = h("li", {}, sign("info", "fault"), words, h("button", { type: "button", class: "small", onclick: async () => {
      try {
        await drop("/v1/faults/" + encodeURIComponent(f.id));
      } catch (e) {
        toast(said(e), "bad");
      }
    } }, t("faults.mend")));
    return { node, update: (now) => text(words, now.what + (now.note ? " (" + now.note + ")" : "") + (now.trouble ? "; " + now.trouble : "")) };
  });
  const recents = new Keyed(recent, eventRow);
  const drawing = newDrawing(canvas);
  const lines = newTable(table);
  let service;
  let open;

  const update = () => {
    const { live } = store;
    if (!live?.info?.system) return text(word, store.link === "denied" ? t("link.denied") : t("waiting"));
    const verdictWord = verdict();
    attr(top, "class", "card now is-" + verdictWord);
    const wrong = store.problems.filter((p) => p.level !== "info");
    const ready = live.instances.filter((i) => i.state === "ready").length;
    text(word, verdictWord === "off" ? t("verdict.off") : wrong.length ? tn("verdict.problems", wrong.length) : verdictWord === "busy" ? t("verdict." + live.info.state) : t("verdict.well"));
    text(lead, verdictWord === "off" ? t("verdict.offSince", { at: clock(live.at) }) : t("now.lead", { ready, all: live.instances.length, services: live.info.services?.length ?? 0, since: ago(live.info.since) }));
    problems.update(store.problems.slice(0, 6), (p) => p.key);
    text(more, store.problems.length > 6 ? tn("problem.more", store.problems.length - 6) : "");
    if (store.calm) figures.update(whole(), store.history.get(""));
    faultBox.hidden = !live.faults.length;
    faultRows.update(live.faults, (f) => f.id);
    if (table.hidden) drawing.update(service);
    else lines.update();
    recents.update(store.events.slice(-12).reverse(), (e) => e.key);
    recentBox.hidden = !store.events.length;
    open?.update();
  };

  const resized = new ResizeObserver(() => drawing.resize());
  resized.observe(canvas.parentNode);
  return {
    update,
    go({ name, args }) {
      const wanted = name === "service" ? args[0] : undefined;
      if (wanted === service) return;
      service = wanted;
      panel.hidden = !service;
      panel.replaceChildren();
      open = service ? servicePanel(panel, service) : undefined;
      if (service) panel.querySelector("h2")?.focus({ preventScroll: innerWidth > 1100 });
    },
    key(e) {
      if (e.key === "Escape" && service) return (location.hash = "#/"), true;
      return drawing.key(e);
    },
    close: () => resized.disconnect(),
  };
};

// newDrawing keeps the picture. Its places change only when services or edges come or go, or the window changes.
const newDrawing = (canvas) => {
  const under = s("svg", { class: "edges", "aria-hidden": "true" });
  const layer = h("ul", { class: "nodes", "aria-label": t("graph.services") });
  const over = s("svg", { class: "edges labels", "aria-hidden": "true" }); // above the nodes, so that none hides a label
  canvas.append(under, layer, over);
  let shape = "";
  let plan;
  let paths;
  let drawn = new Map();
  let loud = -1; // edges of fewer calls say nothing until they are pointed at
  let near;

  const nodes = new Keyed(layer, (name) => {
    const mark = sign("ready");
    const title = h("span", { class: "title", title: name }, name);
    const counts = h("span", { class: "counts" });
    const numbers = h("span", { class: "numbers" });
    const dots = h("span", { class: "dots", "aria-hidden": "true" });
    const over = h("span", { class: "over" });
    const link = h("a", { class: "node", href: "#/service/" + encodeURIComponent(name), "data-service": name }, h("span", { class: "row" }, mark, title), numbers, h("span", { class: "row" }, dots, over, counts));
    const focus = (on) => () => (near = on ? name : near === name ? undefined : near, mark_());
    link.addEventListener("pointerenter", focus(true));
    link.addEventListener("pointerleave", focus(false));
    link.addEventListener("focus", focus(true));
    link.addEventListener("blur", focus(false));
    const node = h("li", {}, link);
    const shapes = new Keyed(dots, (i) => {
      const dot = sign("ready");
      dot.dataset.instance = i.id;
      return { node: dot, update(now) {
        const what = shown(now);
        resign(dot, what);
        if (dot.dataset.state !== what) dot.dataset.state = what;
      } };
    });
    return { node, update() {
      const svc = store.services.get(name);
      const n = store.nodes.get(name) ?? (name === "edge" ? store.live.edge?.rates : undefined);
      const of = svc?.instances ?? [];
      const ready = of.filter((i) => i.state === "ready").length;
      const worst = of.reduce((w, i) => (rank(i) < rank(w) ? i : w), of[0]);
      const inside = svc && of.length;
      const level = !inside ? (name === "edge" && failing(n)) || "outside" : !ready || of.some((i) => rank(i) <= 2) || failing(n) === "bad" ? "bad" : of.some((i) => rank(i) < 4) || failing(n) ? "warn" : "good";
      attr(link, "class", "node is-" + level + (link.dataset.chosen ? " chosen" : ""));
      resign(mark, level === "good" ? "ready" : level === "outside" ? "info" : level === "warn" ? "warn" : worst && rank(worst) <= 2 ? shown(worst) : "warn", level);
      const sorted = of.length > maxDots ? [...of].sort((a, b) => rank(a) - rank(b)).slice(0, maxDots) : of;
      shapes.update(sorted, (i) => i.id);
      text(counts, of.length ? ready + "/" + Math.max(of.length, svc.replicas ?? 0) : "");
      text(over, of.length > maxDots ? "+" + (of.length - maxDots) : "");
      if (!store.calm && numbers.said !== undefined) return;
      text(numbers, n?.rate > 0 ? (n.errors > 0 ? "✕ " + share(n.errors, n.rate) + " · " : "") + rate(n.rate) + " · " + duration(n.p99) : svc ? t("graph.quiet") : t("graph.outside"));
      attr(link, "aria-label", t("graph.node", { service: name, ready, all: of.length, state: level === "good" || level === "outside" ? "" : worst && rank(worst) < 4 ? t("state." + shown(worst)) : t("graph.failing"), rate: n ? rate(n.rate) : none, errors: n ? share(n.errors, n.rate) : none, p99: n ? duration(n.p99) : none }));
    } };
  });

  const edges = new Keyed(under, (e) => {
    const line = s("path", { class: "line" });
    const tip = s("path", { class: "tip", d: "M0 0l-9 -4.5v9z" });
    const label = s("text", { class: "label" });
    const node = s("g", {}, line, tip);
    over.append(label);
    return { node, gone: () => label.remove(), update(now) {
      const way = paths?.get(edgeKey(now));
      attr(node, "visibility", way ? undefined : "hidden");
      if (!way) return;
      attr(line, "d", way.d);
      attr(tip, "transform", `translate(${way.end[0].toFixed(1)} ${way.end[1].toFixed(1)}) rotate(${way.end[2]})`);
      const bad = now.rate > 0.05 && now.errors / now.rate >= 0.01;
      const idle = !(now.rate > 0);
      const touched = near && (now.from === near || now.to === near);
      attr(line, "stroke-width", idle ? 1 : Math.min(8, 1.2 + 1.15 * Math.log10(1 + now.rate)).toFixed(1));
      attr(node, "class", "edge is-" + now.kind + (bad ? " bad" : "") + (idle ? " idle" : "") + (near ? (touched ? " near" : " far") : ""));
      const roomy = drawn.size <= 14 && plan.room;
      const told = !idle && (touched || bad || (roomy && now.rate >= loud));
      text(label, !told ? "" : (bad ? "✕ " + share(now.errors, now.rate) + (touched || roomy ? " · " : "") : "") + (touched || roomy ? rate(now.rate) : "") + (touched && now.retries > 0 ? " ↻ " + rate(now.retries) : "") + (touched || (roomy && !bad) ? " · " + duration(now.p99) : ""));
      attr(label, "class", "label" + (bad ? " bad" : "") + (near && !touched ? " far" : ""));
      attr(label, "x", way.x.toFixed(1));
      attr(label, "y", way.y.toFixed(1));
      attr(label, "text-anchor", way.anchor);
    } };
  });

  const names = () => {
    const list = [...store.services.keys()];
    for (const e of store.edges.values()) for (const n of [e.from, e.to]) if (!list.includes(n)) list.unshift(n);
    return list;
  };
  const mark_ = () => edges.update([...store.edges.values()], edgeKey);
  const replan = (list, all) => {
    const width = Math.max(280, canvas.parentNode.clientWidth - 2);
    plan = arrange(list, all, width);
    paths = new Map(ways(all, plan).map((way, i) => [edgeKey(all[i]), way]));
    const tall = plan.height + ([...paths.values()].some((way) => way?.anchor === "middle") ? 36 : 6);
    attr(under, "width", plan.width);
    attr(under, "height", tall);
    for (const svg of [under, over]) attr(svg, "viewBox", `0 0 ${plan.width} ${tall}`);
    attr(over, "width", plan.width);
    attr(over, "height", tall);
    // A picture that is a little too wide is made smaller rather than cut off.
    const scale = Math.min(1, width / plan.width);
    canvas.style.width = plan.width + "px";
    canvas.style.height = tall + "px";
    canvas.style.transform = scale < 1 ? `scale(${scale})` : "";
    canvas.style.marginBottom = scale < 1 ? Math.round(tall * (scale - 1)) + "px" : "";
    canvas.style.marginRight = scale < 1 ? Math.round(plan.width * (scale - 1)) + "px" : "";
    for (const [name, row] of nodes.kept) {
      const p = plan.places.get(name);
      if (!p) continue;
      row.node.style.transform = `translate(${p.x}px, ${p.y}px)`;
      row.node.style.width = p.w + "px";
      row.node.style.height = p.h + "px";
    }
  };
  let chosen;
  const update = (service) => {
    if (!store.live) return;
    const list = names();
    const all = [...store.edges.values()];
    nodes.update(list, (n) => n);
    const now = list.join() + "|" + [...store.edges.keys()].sort().join() + "|" + canvas.parentNode.clientWidth;
    if (now !== shape && canvas.parentNode.clientWidth) {
      shape = now;
      drawn = store.edges;
      replan(list, all);
    }
    if (service !== chosen) {
      for (const [name, row] of nodes.kept) {
        if (name === service) row.node.firstChild.dataset.chosen = "true";
        else delete row.node.firstChild.dataset.chosen;
        row.update();
      }
      chosen = service;
    }
    if (!store.calm && loud >= 0) return;
    loud = Math.max(0, ...all.map((e) => e.rate)) / 200;
    edges.update(all, edgeKey);
  };
  return {
    update,
    resize: () => update(chosen),
    // The arrows go to the nearest service in that direction.
    key(e) {
      const from = document.activeElement?.dataset?.service;
      const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[e.key];
      if (!from || !step || !plan) return false;
      const a = plan.places.get(from);
      let best;
      for (const [name, b] of plan.places) {
        const [dx, dy] = [b.x - a.x, b.y - a.y];
        const ahead = dx * step[0] + dy * step[1];
        if (ahead <= 1) continue;
        const far = ahead + 2.2 * Math.abs(dx * step[1] + dy * step[0]);
        if (!best || far < best.far) best = { name, far };
      }
      if (best) nodes.kept.get(best.name)?.node.firstChild.focus();
      return true;
    },
  };
};

// newTable says the same as the picture in rows.
const newTable = (box) => {
  const body = h("tbody", {});
  box.append(h("table", {}, h("caption", { class: "visually-hidden" }, t("graph.title")),
    h("thead", {}, h("tr", {}, ["from", "to", "kind", "rate", "errors", "retries", "p50", "p99"].map((c, i) => h("th", { scope: "col", class: i > 2 ? "n" : "" }, t("edge." + c))))), body));
  const rows = new Keyed(body, (e) => {
    const cells = Array.from({ length: 5 }, () => h("td", { class: "n" }));
    const node = h("tr", {}, h("th", { scope: "row" }, e.from), h("td", {}, e.to), h("td", {}, t("edge." + e.kind) + (e.topic ? " " + e.topic : "")), cells);
    return { node, update(now) {
      attr(node, "class", now.rate > 0 && now.errors / now.rate >= 0.01 ? "bad" : "");
      [rate(now.rate), share(now.errors, now.rate), rate(now.retries), duration(now.p50), duration(now.p99)].forEach((v, i) => text(cells[i], v));
    } };
  });
  return { update: () => rows.update([...store.edges.values()], edgeKey) };
};
