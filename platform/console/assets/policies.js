// Policies in force, and where each value comes from.
import { h, text, attr, Keyed } from "./dom.js";
import { t, known } from "./i18n.js";
import { get } from "./api.js";
import { failed } from "./dialog.js";

export const policies = (root) => {
  const stop = new AbortController();
  const search = h("input", { type: "search", "aria-label": t("filter"), placeholder: t("policies.filter"), oninput: () => draw() });
  const only = h("input", { type: "checkbox", onchange: () => draw() });
  const found = h("output", { class: "muted small", "aria-live": "off" });
  const note = h("div", {});
  const list = h("div", { class: "policy-list", "aria-busy": "true" });
  root.append(h("h1", {}, t("nav.policies")), h("section", { class: "card" }, h("p", { class: "muted" }, t("policies.about")), h("div", { class: "filter" }, search, h("label", { class: "check" }, only, t("policies.changed")), found), note), list);
  let got = [];
  let service = "";
  const cards = new Keyed(list, (p) => {
    const revision = h("span", { class: "muted small" });
    const refused = h("ul", { class: "trouble" });
    const body = h("tbody", {});
    const node = h("section", { class: "card", "aria-label": p.service }, h("div", { class: "head" }, h("h2", {}, h("a", { href: "#/service/" + encodeURIComponent(p.service) }, p.service)), revision), refused,
      h("table", { class: "policy stack" }, h("caption", { class: "visually-hidden" }, p.service), h("thead", {}, h("tr", {}, ["key", "value", "source", "otherwise"].map((c) => h("th", { scope: "col" }, t("policy." + c))))), body));
    const rows = new Keyed(body, (v) => {
      const cells = [h("td", { class: "value" }), h("td", { "data-label": t("policy.source") }), h("td", { class: "muted", "data-label": t("policy.otherwise") })];
      const chip = h("span", { class: "chip" });
      cells[1].append(chip);
      const row = h("tr", {}, h("th", { scope: "row" }, h("code", {}, v.key)), cells);
      return { node: row, update(now) {
        text(cells[0], now.value);
        text(chip, known("source", now.source));
        attr(chip, "class", "chip source-" + now.source);
        text(cells[2], now.otherwise ?? "");
        attr(row, "class", now.source === "default" ? "default" : "");
      } };
    });
    const lines = new Keyed(refused, (line) => ({ node: h("li", {}, line) }));
    return { node, update(now) {
      text(revision, now.revision ? t("policies.revision", { n: now.revision }) : "");
      const bad = [...(now.refused ?? []), ...(now.missing ? [now.missing] : [])];
      refused.hidden = !bad.length;
      lines.update(bad, (l) => l);
      rows.update(now.hits, (v) => v.key);
    } };
  });
  const draw = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    let all = 0;
    const shown = [];
    for (const p of got) {
      if (service && p.service !== service) continue;
      all += p.values?.length ?? 0;
      const hits = (p.values ?? []).filter((v) => (!only.checked || v.source !== "default") && words.every((w) => (p.service + " " + v.key + " " + v.value + " " + v.source).toLowerCase().includes(w)));
      n += hits.length;
      if (hits.length || p.missing || p.refused?.length) shown.push({ ...p, hits });
    }
    cards.update(shown, (p) => p.service);
    text(found, t("found", { n, all }));
  };
  const load = async () => {
    try {
      got = (await get("/v1/policies", stop.signal)).policies ?? [];
      note.replaceChildren();
      draw();
    } catch (e) {
      if (e.name !== "AbortError") failed(note, e);
    }
    list.removeAttribute("aria-busy");
  };
  const timer = setInterval(() => !document.hidden && load(), 5000);
  load();
  return {
    go({ params }) {
      service = params.get("service") ?? "";
      draw();
    },
    close() {
      clearInterval(timer);
      stop.abort();
    },
  };
};
