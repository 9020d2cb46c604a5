// One service beside the graph: how it does, its instances, who calls it and whom it calls, and how many of it there should be.
import { h, text, attr, Keyed, sign, resign } from "./dom.js";
import { figuresBox } from "./figures.js";
import { t, tn } from "./i18n.js";
import { store, shown, edgeKey, rank } from "./store.js";
import { rate, share, duration } from "./format.js";
import { buttons, scale, maxReplicas, restartService, stateWords } from "./actions.js";

export const servicePanel = (root, name) => {
  const link = (what) => "#/" + what + (what.includes("?") ? "&" : "?") + "service=" + encodeURIComponent(name);
  const about = h("p", { class: "muted" });
  const figures = figuresBox("narrow");
  const wanted = h("span", { class: "wanted" });
  const of = () => store.services.get(name);
  const fewer = h("button", { type: "button", "aria-label": t("scale.fewer", { name }), onclick: () => scale(of(), Math.max(0, of().replicas - 1)) }, "−");
  const more = h("button", { type: "button", "data-action": "scale", "aria-label": t("scale.more", { name }), onclick: () => scale(of(), Math.min(maxReplicas, of().replicas + 1)) }, "+");
  const again = h("button", { type: "button", onclick: () => restartService(of()) }, t("restart.service"));
  const steer = h("div", { class: "steer" }, h("span", {}, t("scale.wanted")), fewer, wanted, more, again);
  const auto = h("p", { class: "muted small" });
  const list = h("ul", { class: "instance-list" });
  const into = h("ul", { class: "edge-list" });
  const out = h("ul", { class: "edge-list" });
  const intoBox = h("section", {}, h("h3", {}, t("service.calledBy")), into);
  const outBox = h("section", {}, h("h3", {}, t("service.calls")), out);
  root.append(h("div", { class: "card" },
    h("div", { class: "head" }, h("h2", { tabindex: -1 }, name), h("a", { class: "close", href: "#/", "aria-label": t("close") }, "×")),
    about, figures.node, steer, auto,
    h("p", { class: "links" }, h("a", { href: link("calls") }, t("nav.calls")), h("a", { href: link("calls?status=error") }, t("service.failed")), h("a", { href: link("logs") }, t("nav.logs")), h("a", { href: link("policies") }, t("nav.policies"))),
    h("section", {}, h("h3", {}, t("nav.instances")), list), intoBox, outBox));

  const rows = new Keyed(list, (i) => {
    const mark = sign("ready");
    const words = h("span", { class: "muted small" });
    const acts = buttons(true);
    const node = h("li", { "data-instance": i.id }, mark, h("a", { href: "#/instance/" + encodeURIComponent(i.id) }, i.id), acts.node, words);
    return { node, update(now) {
      const what = shown(now);
      resign(mark, what);
      if (node.dataset.state !== what) node.dataset.state = what;
      text(words, what === "ready" ? now.role ?? "" : stateWords(now) + (now.ejected?.length ? " " + now.ejected[0] : ""));
      acts.update(now);
    } };
  });
  const edgeRow = (other) => (e) => {
    const numbers = h("span", { class: "muted small" });
    const node = h("li", {}, h("a", { href: "#/service/" + encodeURIComponent(e[other]) }, e[other]), e.kind === "message" ? h("span", { class: "chip" }, e.topic || t("edge.message")) : "", numbers);
    return { node, update(now) {
      if (!store.calm && numbers.said !== undefined) return;
      attr(node, "class", now.rate > 0 && now.errors / now.rate >= 0.01 ? "bad" : "");
      text(numbers, now.rate > 0 ? [rate(now.rate), t("figures.failed", { share: share(now.errors, now.rate) }), "p50 " + duration(now.p50), "p99 " + duration(now.p99), now.retries > 0.005 && t("edge.retried", { rate: rate(now.retries) }), now.hedges > 0.005 && t("edge.hedged", { rate: rate(now.hedges) })].filter(Boolean).join(" · ") : t("graph.quiet"));
    } };
  };
  const intoRows = new Keyed(into, edgeRow("from"));
  const outRows = new Keyed(out, edgeRow("to"));

  return { update() {
    const svc = of();
    const n = store.nodes?.get(name);
    steer.hidden = !svc || svc.replicas === undefined;
    auto.hidden = !svc?.autoscale;
    if (svc) {
      const ready = svc.instances.filter((i) => i.state === "ready").length;
      text(about, tn("service.about", svc.instances.length, { ready }) + (svc.replicated ? " " + t("service.replicated") : "") + (svc.http ? " " + t("service.http", { at: svc.http }) : ""));
      text(wanted, svc.replicas ?? "");
      fewer.disabled = !(svc.replicas > 0);
      more.disabled = svc.replicas >= maxReplicas;
      const a = svc.autoscale;
      if (a) text(auto, t("scale.by", { min: a.min, max: a.max }) + [a.why, a.waits, a.paused].filter(Boolean).map((w) => "; " + w).join(""));
    } else text(about, t("service.outside"));
    if (store.calm) figures.update(n, store.history.get(name));
    rows.update([...(svc?.instances ?? [])].sort((a, b) => rank(a) - rank(b) || a.id.localeCompare(b.id, "en", { numeric: true })), (i) => i.id);
    const all = [...store.edges.values()];
    const [to, from] = [all.filter((e) => e.to === name), all.filter((e) => e.from === name)];
    intoBox.hidden = !to.length;
    outBox.hidden = !from.length;
    intoRows.update(to, edgeKey);
    outRows.update(from, edgeKey);
  } };
};
