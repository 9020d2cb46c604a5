// State that is kept: the groups with their leaders and members, and locks with their holders.
import { h, text, attr, sign, resign, Keyed } from "./dom.js";
import { t, tn, known } from "./i18n.js";
import { store, shown, ago } from "./store.js";
import { exact } from "./format.js";

const instanceLink = (id) => h("a", { href: "#/instance/" + encodeURIComponent(id) }, id);

export const state = (root) => {
  const list = h("div", { class: "groups-list" });
  const none = h("p", { class: "muted" }, t("group.none"));
  const locks = h("tbody", {});
  const lockTable = h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t("lock.title") }, h("table", { class: "stack" }, h("caption", { class: "visually-hidden" }, t("lock.title")), h("thead", {}, h("tr", {}, ["name", "kind", "holder", "token", "since", "waiting"].map((c) => h("th", { scope: "col", class: c === "token" || c === "waiting" ? "n" : "" }, t("lock." + c))))), locks));
  const noLocks = h("p", { class: "muted" }, t("lock.none"));
  root.append(h("h1", {}, t("nav.state")), h("section", { "aria-label": t("group.title") }, h("h2", {}, t("group.title")), none, list),
    h("section", { class: "card", "aria-label": t("lock.title") }, h("h2", {}, t("lock.title")), noLocks, lockTable));

  const groups = new Keyed(list, (g) => {
    const trouble = h("p", { class: "trouble" });
    const term = h("span", { class: "muted small" });
    const members = h("ul", { class: "members" });
    const node = h("section", { class: "card group", "aria-label": g.service + "/" + g.name }, h("div", { class: "head" }, h("h3", {}, h("a", { href: "#/service/" + encodeURIComponent(g.service) }, g.service), g.name && g.name !== g.service ? " / " + g.name : ""), term), trouble, members);
    const rows = new Keyed(members, (m) => {
      const role = sign("leader", "leader");
      const dot = sign("ready");
      const words = h("span", { class: "small" });
      const behind = h("span", { class: "muted small n" });
      const row = h("li", {}, dot, instanceLink(m.instance), role, words, behind);
      return { node: row, update(now) {
        const i = store.byID.get(now.instance);
        resign(dot, now.role === "away" && (!i || i.state === "ready") ? "unknown" : i ? shown(i) : "unknown");
        attr(row, "class", "is-" + now.role);
        attr(role, "visibility", now.role === "leader" ? undefined : "hidden");
        text(words, known("role", now.role));
        text(behind, now.role === "away" ? "" : now.behind > 0 ? tn("group.behind", now.behind) : t("group.applied", { n: exact(now.applied) }));
      } };
    });
    return { node, update(now) {
      attr(node, "class", "card group" + (now.leader ? (now.trouble ? " is-warn" : "") : " is-bad"));
      text(term, t("group.term", { term: now.term }));
      trouble.hidden = now.leader && !now.trouble;
      text(trouble, now.trouble || t("group.noLeader"));
      const first = Math.max(0, ...(now.members ?? []).map((m) => m.applied ?? 0));
      rows.update((now.members ?? []).map((m) => ({ ...m, behind: first - (m.applied ?? 0) > 64 ? first - m.applied : 0 })), (m) => m.instance);
    } };
  });
  const lockRows = new Keyed(locks, (l) => {
    const holder = h("td", { "data-label": t("lock.holder") });
    const cells = ["token", "since", "waiting"].map((c) => h("td", { class: c === "since" ? "" : "n", "data-label": t("lock." + c) }));
    const node = h("tr", {}, h("th", { scope: "row" }, l.name), h("td", {}, t(l.election ? "lock.election" : "lock.lock")), holder, cells);
    let was;
    return { node, update(now) {
      if (was !== (now.holder ?? "")) {
        was = now.holder ?? "";
        holder.replaceChildren(was ? instanceLink(was) : t("lock.outside"));
      }
      text(cells[0], now.token);
      text(cells[1], Date.parse(now.since) > 0 ? ago(now.since) : "–");
      text(cells[2], now.waiting || "–");
    } };
  });
  return { update() {
    if (!store.live) return;
    const { live } = store;
    groups.update(live.groups, (g) => g.service + "\n" + g.name);
    lockRows.update(live.locks, (l) => l.name);
    none.hidden = live.groups.length > 0;
    noLocks.hidden = live.locks.length > 0;
    lockTable.hidden = !live.locks.length;
  } };
};
