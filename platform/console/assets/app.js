// The page's frame: what is at the top and at the side, which view is shown, keys, and the stream that feeds all.
import { h, text, attr, sign, resign } from "./dom.js";
import { t, tn, lang, setLang } from "./i18n.js";
import { store, watch, take, happened, kept, linked, verdict, whole, changed } from "./store.js";
import { follow, login, loggingIn, elsewhere, lines, session } from "./api.js";
import { rate, share, duration } from "./format.js";
import { help, toast, failed } from "./dialog.js";
import { scheme, nextScheme, applyScheme } from "./scheme.js";
import { graph } from "./graph.js";
import { instances } from "./instances.js";
import { calls } from "./calls.js";
import { state } from "./state.js";
import { queues } from "./queues.js";
import { policies } from "./policies.js";
import { logs } from "./logs.js";
import { events } from "./events.js";

const views = [
  { name: "", key: "g", view: graph, title: "nav.graph", also: ["service"] },
  { name: "instances", key: "i", view: instances, title: "nav.instances", also: ["instance"] },
  { name: "calls", key: "c", view: calls, title: "nav.calls" },
  { name: "state", key: "s", view: state, title: "nav.state" },
  { name: "queues", key: "q", view: queues, title: "nav.queues" },
  { name: "policies", key: "p", view: policies, title: "nav.policies" },
  { name: "logs", key: "l", view: logs, title: "nav.logs" },
  { name: "events", key: "e", view: events, title: "nav.events" },
];

const main = document.getElementById("main");
let shown; // {of, name, parts}

// route is where the address points: "#/calls/TRACE?status=error" is {name: "calls", args: ["TRACE"], params}.
const route = () => {
  const [path, q] = location.hash.replace(/^#\/?/, "").split("?");
  const decode = (part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  };
  const [name, ...args] = path.split("/").map(decode);
  return { name, args: args.filter(Boolean), params: new URLSearchParams(q ?? "") };
};

const go = (first) => {
  const to = route();
  const of = views.find((v) => v.name === to.name || v.also?.includes(to.name)) ?? views[0];
  if (shown?.of !== of) {
    shown?.parts.close?.();
    main.replaceChildren();
    main.className = "view-" + (of.name || "graph");
    shown = { of, parts: of.view(main) };
    window.scrollTo(0, 0);
    // A reader of screens is told what is shown now; whoever used a key or the mouse sees no frame around it.
    if (!first) main.focus({ preventScroll: true });
  }
  shown.parts.go?.(to);
  shown.parts.update?.();
  frame.mark(of);
  document.title = name();
};

const name = () => {
  const n = store.problems.filter((p) => p.level !== "info").length;
  const mark = store.link !== "on" ? "… " : n ? "(" + n + ") " : "";
  return mark + t(shown.of.title) + " · " + (store.live?.info.system ?? "Holdfast");
};

// newFrame makes what is around the views, in the language of now.
const newFrame = () => {
  const top = document.getElementById("top");
  const nav = document.getElementById("nav");
  const system = h("span", { class: "system" });
  const pillSign = sign("unknown");
  const pillText = h("span", { class: "words" });
  const pill = h("a", { class: "pill", href: "#/", id: "verdict" }, pillSign, pillText);
  const figures = h("span", { class: "figures" });
  const heard = h("span", { class: "visually-hidden", role: "status" });
  const skip = h("button", { type: "button", class: "skip", onclick: () => main.focus() }, t("skip"));
  const language = h("button", { type: "button", class: "quiet", lang: lang() === "en" ? "zh-CN" : "en", onclick: () => speak(lang() === "en" ? "zh" : "en") }, t("lang.other"));
  const light = h("button", { type: "button", class: "quiet", onclick: () => (nextScheme(), label()) });
  const label = () => {
    text(light, t("scheme." + scheme()));
    attr(light, "aria-label", t("scheme.label", { now: t("scheme." + scheme()) }));
  };
  label();
  const right = h("span", { class: "right" });
  top.replaceChildren(skip,
    h("a", { class: "brand", href: "#/" }, logo(), h("span", { class: "name" }, "Holdfast"), system),
    pill, figures, h("span", { class: "spacer" }), right, language, light,
    h("button", { type: "button", class: "quiet key", "aria-label": t("help.open"), onclick: () => help(views) }, "?"), heard);

  const badges = new Map();
  nav.setAttribute("aria-label", t("nav.label"));
  nav.replaceChildren(h("ul", {}, views.map((v) => {
    const badge = h("span", { class: "badge", hidden: true });
    const link = h("a", { href: "#/" + v.name, "aria-keyshortcuts": v.key, title: t("nav.key", { key: v.key }) }, h("span", {}, t(v.title)), badge);
    badges.set(v, { link, badge });
    return h("li", {}, link);
  })));
  const setBadge = (key, n, level, words) => {
    const { badge } = badges.get(views.find((v) => v.name === key));
    badge.hidden = !n;
    text(badge, n);
    attr(badge, "class", "badge " + level);
    attr(badge, "aria-label", n ? words : undefined);
    attr(badge, "role", n ? "img" : undefined);
  };
  let said = "";
  return {
    mark(of) {
      for (const [v, { link }] of badges) {
        attr(link, "aria-current", v === of ? "page" : undefined);
        if (v === of && nav.scrollWidth > nav.clientWidth) nav.scrollLeft = link.offsetLeft - 24;
      }
    },
    update() {
      const { live } = store;
      const word = verdict();
      const bad = store.problems.filter((p) => p.level !== "info");
      document.body.dataset.live = store.link === "on" ? "on" : "off";
      document.body.dataset.verdict = word;
      text(system, live?.info.system ?? "");
      attr(pill, "class", "pill is-" + word);
      resign(pillSign, { off: "unknown", bad: "dead", warn: "warn", busy: "starting", good: "ready" }[word], word);
      const words = word === "off" ? t(store.link === "denied" ? "link.denied" : "link.off") :
        bad.length ? tn("verdict.count", bad.length) : word === "busy" ? t("verdict." + (live.info.state ?? "starting")) : t("verdict.good");
      text(pillText, words);
      if (words !== said) text(heard, (said = words)); // once, and not with each figure
      document.title = name();
      if (!store.calm && figures.said !== undefined) return;
      const all = whole();
      text(figures, live ? rate(all.rate) + "  ·  " + t("figures.failed", { share: share(all.errors, all.rate) }) + "  ·  p99 " + duration(all.p99) : "");
      text(right, session.right === "operate" || !live ? "" : t("right.view"));
      attr(right, "title", t("right.how"));
      const sick = live ? live.instances.filter((i) => !["ready", "starting", "draining", "stopped"].includes(i.state)).length : 0;
      setBadge("instances", sick, "bad", tn("badge.sick", sick));
      const dead = live ? live.queues.reduce((sum, q) => sum + q.dead, 0) : 0;
      setBadge("queues", dead, "warn", tn("badge.dead", dead));
      const leaderless = live ? live.groups.filter((g) => !g.leader || g.trouble).length : 0;
      setBadge("state", leaderless, "bad", tn("badge.groups", leaderless));
    },
  };
};

const logo = () => {
  const node = sign("unknown");
  node.setAttribute("viewBox", "0 0 32 32");
  node.setAttribute("class", "logo");
  const make = (tag, props) => {
    const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [k, v] of Object.entries(props)) e.setAttribute(k, v);
    return e;
  };
  node.replaceChildren(make("rect", { width: 32, height: 32, rx: 8 }), make("path", { d: "M10 7v18M22 7v18M10 16h12" }));
  return node;
};

let frame;

const speak = (l) => {
  setLang(l);
  shown?.parts.close?.();
  shown = undefined;
  frame = newFrame();
  take(store.live ?? { info: {}, instances: [] });
  go(true);
  document.querySelector("#top [lang]").focus();
};

// Keys are for whoever is not writing: a letter for each view, "/" for the search, "?" for help.
const typing = (e) => e.target.closest?.("input, select, textarea, [contenteditable]") || document.querySelector("dialog[open]");
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || typing(e)) return;
  if (e.key === "?") return e.preventDefault(), help(views);
  if (e.key === "/") {
    const search = main.querySelector("input[type=search]");
    if (search) e.preventDefault(), search.focus(), search.select();
    return;
  }
  if (shown?.parts.key?.(e)) return e.preventDefault();
  const v = views.find((x) => x.key === e.key);
  if (v) {
    e.preventDefault();
    location.hash = "#/" + v.name;
  }
});

// recall asks for what has happened without us.
const recall = () => {
  const events = [];
  lines("/v1/events?last=500&follow=0", (e) => events.push(e), AbortSignal.timeout(10_000)).catch(() => {}).finally(() => kept(events));
};

const start = async () => {
  applyScheme();
  setLang(lang());
  frame = newFrame();
  const refused = await login();
  go(true);
  frame.update();
  watch(() => {
    frame.update();
    shown.parts.update?.();
  });
  window.addEventListener("hashchange", async () => {
    if (loggingIn()) { // by a link that was opened in this tab
      const refused = await login();
      if (refused) toast(t("login.refused") + " " + refused.message, "bad");
      frame.update();
    }
    go();
  });
  elsewhere(async () => { // somebody has logged in, in another tab
    await login();
    frame.update();
  });
  if (refused) toast(t("login.refused") + " " + refused.message, "bad");
  follow((kind, value) => (kind === "live" ? take(value) : happened(value)), (word, error, fresh) => {
    if (fresh) recall();
    linked(word);
  });
  setInterval(changed, 1000); // ages go on while nothing is said
};

start().catch((e) => failed(main, e));
