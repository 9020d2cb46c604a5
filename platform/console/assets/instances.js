// All instances as a table by service, and one of them in full beside it.
import { h, text, attr, sign, resign, Keyed } from "./dom.js";
import { figuresBox } from "./figures.js";
import { t, tn } from "./i18n.js";
import { store, shown, rank, ago } from "./store.js";
import { rate, share, duration, bytes, none, clock, count } from "./format.js";
import { buttons, run, stateWords } from "./actions.js";

const columns = ["state", "instance", "role", "rate", "errors", "p99", "inflight", "memory", "restarts", "since", "actions"];

export const instances = (root) => {
  const search = h("input", { type: "search", "aria-label": t("filter"), placeholder: t("instances.filter"), oninput: () => update() });
  const onlySick = h("input", { type: "checkbox", onchange: () => update() });
  const found = h("output", { class: "muted small", "aria-live": "off" });
  const body = h("div", { class: "groups-of-instances" });
  const table = h("table", { class: "instances stack" }, h("caption", { class: "visually-hidden" }, t("nav.instances")),
    h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: ["rate", "errors", "p99", "inflight", "memory", "restarts"].includes(c) ? "n" : "" }, t("col." + c))))));
  body.append(table);
  const panel = h("aside", { class: "panel", hidden: true });
  const list = h("div", { class: "wide master" }, h("section", { class: "card" },
    h("div", { class: "filter" }, search, h("label", { class: "check" }, onlySick, t("instances.sick")), found), body));
  const split = h("div", { class: "split" }, list, h("div", { class: "side" }, panel));
  root.append(h("h1", {}, t("nav.instances")), split);

  let open;
  let chosen;
  const groups = new Keyed(table, (svc) => {
    const name = h("a", { href: "#/service/" + encodeURIComponent(svc.name) }, svc.name);
    const about = h("span", { class: "muted small" });
    const node = h("tbody", {}, h("tr", { class: "group" }, h("th", { scope: "rowgroup", colspan: 5 }, name, " ", about)));
    const rows = new Keyed(node, instanceRow);
    const head = node.firstChild;
    rows.kept.set("\n", { node: head });
    return { node, update(g) {
      const ready = g.instances.filter((i) => i.state === "ready").length;
      text(about, t("instances.ready", { ready, all: Math.max(g.instances.length, g.replicas ?? 0) }));
      rows.update([{ id: "\n" }, ...g.shown], (i) => i.id);
    } };
  });

  const matches = (i) => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const where = [i.id, i.service, i.state, stateWords(i), i.role ?? "", i.addr, i.reason ?? ""].join(" ").toLowerCase();
    return words.every((w) => where.includes(w)) && (!onlySick.checked || rank(i) < 4);
  };
  const update = () => {
    if (!store.live) return;
    let n = 0;
    const all = [];
    for (const g of store.services.values()) {
      const hits = g.instances.filter(matches);
      n += hits.length;
      if (hits.length) all.push({ ...g, shown: hits });
    }
    groups.update(all, (g) => g.name);
    text(found, t("found", { n, all: store.live.instances.length }));
    open?.update();
  };

  // The arrows go from row to row; letters act on the one that has the focus.
  const key = (e) => {
    const row = document.activeElement?.closest?.("tr[data-instance]");
    if (e.key === "Escape" && chosen) return (location.hash = "#/instances"), true;
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      const rows = [...table.querySelectorAll("tr[data-instance]")];
      const at = row ? rows.indexOf(row) + (e.key === "ArrowDown" ? 1 : -1) : 0;
      rows[at]?.querySelector("a").focus();
      return true;
    }
    const what = { k: "kill", f: "freeze", t: "thaw", r: "restart" }[e.key];
    const id = row?.dataset.instance ?? chosen;
    if (what && id && store.byID.has(id)) return run(what, { id }), true;
    return false;
  };

  return {
    update, key,
    go({ name, args, params }) {
      if (params.has("q")) search.value = params.get("q");
      const wanted = name === "instance" ? args[0] : undefined;
      if (wanted === chosen) return;
      chosen = wanted;
      panel.hidden = !chosen;
      attr(split, "class", "split" + (chosen ? " has-detail" : ""));
      panel.replaceChildren();
      open = chosen ? instancePanel(panel, chosen) : undefined;
      if (chosen) panel.querySelector("h2").focus({ preventScroll: innerWidth > 1100 });
    },
  };
};

// leads is what an instance leads, where it stands beside "Leads".
const leads = (i) => (i.role ?? "").replace(/^leader of /, "");

const instanceRow = (i) => {
  const cell = (c, n) => h("td", { class: n ? "n" : "", "data-label": t("col." + c) });
  const mark = sign("ready");
  const words = h("span", {});
  const role = cell("role");
  const numbers = ["rate", "errors", "p99", "inflight", "memory", "restarts"].map((c) => cell(c, true));
  const since = cell("since");
  const acts = buttons(true);
  const node = h("tr", { "data-instance": i.id }, h("td", { class: "state" }, mark, words), h("th", { scope: "row" }, h("a", { href: "#/instance/" + encodeURIComponent(i.id) }, i.id)),
    role, numbers, since, h("td", { class: "acts" }, acts.node));
  return { node, update(now) {
    const what = shown(now);
    resign(mark, what);
    if (node.dataset.state !== what) node.dataset.state = what;
    attr(node, "class", rank(now) <= 2 ? "bad" : rank(now) === 3 ? "warn" : "");
    text(words, stateWords(now));
    attr(words, "title", now.ejected?.join("\n") || now.reason || undefined);
    text(role, leads(now));
    acts.update(now);
    if (!store.calm && numbers[0].said !== undefined) return;
    const { rates, stats } = now;
    text(numbers[0], rates ? rate(rates.rate) : none);
    text(numbers[1], rates ? share(rates.errors, rates.rate) : none);
    attr(numbers[1], "class", "n" + (rates && rates.rate > 0 && rates.errors / rates.rate >= 0.01 ? " hot" : ""));
    text(numbers[2], rates ? duration(rates.p99) : none);
    text(numbers[3], stats ? stats.in_flight + (stats.limit ? "/" + stats.limit : "") : none);
    text(numbers[4], bytes(now.rss));
    text(numbers[5], now.restarts || none);
    text(since, ago(now.since));
  } };
};

// instancePanel is one instance in full.
const instancePanel = (root, id) => {
  const mark = sign("unknown");
  const state = h("span", {});
  const acts = buttons(false);
  const why = h("ul", { class: "why" });
  const facts = h("dl", { class: "facts" });
  const past = { rate: [], errors: [], p99: [] };
  const figures = figuresBox("narrow");
  const events = h("h3", {}, t("nav.events"));
  const happenedHere = h("ol", { class: "event-list" });
  root.append(h("div", { class: "card", "data-instance": id },
    h("div", { class: "head" }, h("h2", { tabindex: -1 }, id), h("a", { class: "close", href: "#/instances", "aria-label": t("close") }, "×")),
    h("p", { class: "state big" }, mark, state), why, acts.node, figures.node, facts,
    h("p", { class: "links" }, h("a", { href: "#/logs?service=" + encodeURIComponent(id) }, t("nav.logs")), h("a", { href: "#/calls?text=" + encodeURIComponent(id) }, t("nav.calls"))),
    events, happenedHere));
  const whys = new Keyed(why, (line) => ({ node: h("li", {}, line) }));
  const rows = new Keyed(facts, ([label]) => {
    const dd = h("dd", {});
    return { node: h("div", {}, h("dt", {}, label), dd), update: ([, v]) => text(dd, v) };
  });
  const eventRows = new Keyed(happenedHere, (e) => ({ node: h("li", {}, h("time", {}, clock(e.time)), " ", e.message) }));
  let last = -Infinity;
  return { update() {
    const here = store.events.filter((e) => e.instance === id).slice(-8).reverse();
    events.hidden = !here.length;
    eventRows.update(here, (e) => e.key);
    const i = store.byID.get(id);
    if (!i) {
      resign(mark, "stopped");
      root.firstChild.dataset.state = "stopped";
      text(state, t("instance.gone"));
      acts.update({ id });
      figures.update(undefined);
      for (const list of [whys, rows]) list.update([]);
      return;
    }
    resign(mark, shown(i));
    root.firstChild.dataset.state = shown(i);
    text(state, stateWords(i) + " · " + t("since", { age: ago(i.since) }));
    whys.update([...(i.ejected ?? []).map((e) => t("state.ejected") + " " + e), ...(i.reason && i.state !== "ready" ? [i.reason] : [])], (l) => l);
    acts.update(i);
    const { rates, stats } = i;
    const at = performance.now();
    if (rates && at - last > 900) {
      last = at;
      for (const key of Object.keys(past)) {
        past[key].push(rates[key]);
        if (past[key].length > 300) past[key].shift();
      }
    }
    figures.update(rates, past);
    rows.update([
      [t("col.role"), leads(i)], [t("fact.service"), i.service], ["PID", i.pid || ""], [t("fact.addr"), Object.entries(i.addrs ?? {}).map(([k, v]) => k + " " + v).join(", ") || i.addr], [t("fact.admin"), i.admin],
      [t("col.restarts"), i.restarts || ""], [t("fact.last"), i.state === "ready" ? i.reason : ""],
      [t("col.inflight"), stats && stats.in_flight + (stats.limit ? " / " + stats.limit : "") + (stats.waiting ? ", " + tn("fact.waiting", stats.waiting) : "")],
      [t("fact.served"), stats && count(stats.served) + (stats.shed ? ", " + t("fact.shed", { n: count(stats.shed) }) : "")],
      [t("fact.called"), stats && t("fact.attempts", { calls: count(stats.calls), attempts: count(stats.attempts) })],
      [t("fact.cpu"), stats?.cpu ? duration(stats.cpu) : ""], [t("col.memory"), i.rss ? bytes(i.rss) + (i.heap ? ", " + t("fact.heap", { heap: bytes(i.heap) }) : "") : ""], [t("fact.goroutines"), i.goroutines],
    ].filter(([, v]) => v !== undefined && v !== "" && v !== null), ([label]) => label);
  } };
};
