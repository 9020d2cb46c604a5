// Queues: how far each group is, and what it could not handle: to look at, to replay, to discard.
import { h, text, attr, sign, resign, Keyed } from "./dom.js";
import { t, tn } from "./i18n.js";
import { store } from "./store.js";
import { get, postPatiently, query } from "./api.js";
import { duration, count, bytes, day, none, indented } from "./format.js";
import { confirm, failed, toast } from "./dialog.js";

const addr = (q) => "#/queues/" + encodeURIComponent(q.topic) + "/" + encodeURIComponent(q.group);
const api = (topic, group) => "/v1/queues/" + encodeURIComponent(topic) + "/" + encodeURIComponent(group);

export const queues = (root) => {
  const body = h("tbody", {});
  const empty = h("p", { class: "muted" }, t("queues.none"));
  const table = h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t("nav.queues") }, h("table", { class: "stack" }, h("caption", { class: "visually-hidden" }, t("nav.queues")),
    h("thead", {}, h("tr", {}, ["queue", "lag", "unsettled", "trend", "oldest", "dead", "who"].map((c, i) => h("th", { scope: "col", class: i > 0 && i < 6 ? "n" : "" }, t("queue." + c))))), body));
  const letters = h("div", {});
  root.append(h("h1", {}, t("nav.queues")), h("section", { class: "card", "aria-label": t("nav.queues") }, empty, table), letters);

  let open;
  let key = "";
  const rows = new Keyed(body, (q) => {
    const mark = sign("ready");
    const cells = ["lag", "unsettled", "trend", "oldest"].map((c) => h("td", { class: "n", "data-label": t("queue." + c) }));
    const dead = h("a", { href: addr(q) });
    const who = h("td", { class: "small", "data-label": t("queue.who") });
    const node = h("tr", { "data-queue": q.topic + "/" + q.group }, h("th", { scope: "row" }, mark, " ", q.topic, h("span", { class: "muted" }, " → "), q.group), cells, h("td", { class: "n", "data-label": t("queue.dead") }, dead), who);
    return { node, update(now) {
      const bad = now.slowed?.length || (now.oldest > 30e9 && now.lag > 0);
      resign(mark, bad ? "slow" : now.dead ? "warn" : "ready", bad || now.dead ? "warn" : "ready");
      attr(node, "class", (bad || now.dead ? "warn" : "") + (key === now.topic + "/" + now.group ? " chosen" : ""));
      [count(now.lag), count(now.unsettled), Math.abs(now.rate) < 0.05 ? "→" : (now.rate > 0 ? "↗ +" : "↘ −") + Math.abs(now.rate).toFixed(1) + "/s", now.lag ? duration(now.oldest) : none].forEach((v, i) => text(cells[i], v));
      text(dead, count(now.dead));
      attr(dead, "class", now.dead ? "hot" : undefined);
      attr(dead, "aria-label", tn("queue.letters", now.dead, { topic: now.topic, group: now.group }));
      text(who, now.slowed?.length ? t("queue.slowed", { who: now.slowed.join(", ") }) : (now.subscribers ?? []).join(", "));
    } };
  });
  return {
    update() {
      if (!store.live) return;
      rows.update(store.live.queues, (q) => q.topic + "\n" + q.group);
      empty.hidden = store.live.queues.length > 0;
      table.hidden = !store.live.queues.length;
    },
    go({ args }) {
      const next = args.slice(0, 2).join("/");
      if (next === key) return;
      key = next;
      open?.close();
      letters.replaceChildren();
      open = args.length > 1 ? deadLetters(letters, args[0], args[1]) : undefined;
      if (open) letters.scrollIntoView({ block: "nearest" });
    },
    key: (e) => e.key === "Escape" && key !== "" && ((location.hash = "#/queues"), true),
    close: () => open?.close(),
  };
};

const pageSize = 50;
const maxPage = 200; // letters of an answer
const maxPositions = 200; // letters that one request can name

// deadLetters lists those of a group, a page at a time.
const deadLetters = (root, topic, group) => {
  const stop = new AbortController();
  const chosen = new Set();
  const note = h("div", {});
  const list = h("ol", { class: "letters", "aria-busy": "true" });
  const empty = h("p", { class: "muted", hidden: true }, t("letters.none"));
  const allBox = h("input", { type: "checkbox", onchange: () => {
    for (const box of list.querySelectorAll("input[type=checkbox]")) {
      box.checked = allBox.checked;
      allBox.checked ? chosen.add(box.value) : chosen.delete(box.value);
    }
    mark();
  } });
  const picked = h("span", { class: "muted small", role: "status" });
  const replay = h("button", { type: "button", class: "primary", "data-action": "replay", onclick: () => act("replay") });
  const discard = h("button", { type: "button", class: "risky", "data-action": "discard", onclick: () => act("discard") });
  const more = h("button", { type: "button", hidden: true, onclick: () => load(pageSize, next) }, t("letters.more"));
  const bar = h("div", { class: "filter" }, h("label", { class: "check" }, allBox, t("letters.all")), picked, h("span", { class: "spacer" }), replay, discard);
  root.append(h("section", { class: "card", "aria-label": t("letters.title", { topic, group }) },
    h("div", { class: "head" }, h("h2", { tabindex: -1 }, t("letters.title", { topic, group })), h("a", { class: "close", href: "#/queues", "aria-label": t("close") }, "×")), bar, note, empty, list, more));
  let next = "";

  const mark = () => {
    const n = chosen.size;
    text(picked, n ? tn("letters.chosen", n) : "");
    text(replay, n ? t("letters.replay", { n }) : t("letters.replayAll"));
    text(discard, n ? t("letters.discard", { n }) : t("letters.discardAll"));
    const none = !list.children.length;
    replay.disabled = discard.disabled = none;
    bar.hidden = none;
    allBox.checked = n > 0 && n === shownLetters.length;
    empty.hidden = !none || list.hasAttribute("aria-busy") || note.hasChildNodes();
  };
  const act = async (what, positions = [...chosen]) => {
    const all = !positions.length;
    const n = positions.length;
    let rest = positions;
    let done = 0;
    // settle takes as long as the letters do. Who closes the question ends it after those that were named last.
    const settle = async (open) => {
      try {
        do {
          const part = rest.slice(0, maxPositions);
          done += (await postPatiently(api(topic, group) + "/" + what, all ? { all } : { positions: part })).count ?? part.length;
          const gone = new Set(all ? shownLetters.map((l) => l.position) : part);
          shownLetters = shownLetters.filter((l) => !gone.has(l.position));
          for (const p of gone) chosen.delete(p);
          rest = rest.slice(part.length);
        } while (rest.length && open());
      } finally {
        load(Math.max(pageSize, shownLetters.length));
      }
    };
    const r = await confirm({
      title: all ? t(what + ".titleAll", { topic, group }) : tn(what + ".title", n, { topic, group }),
      body: t(what + ".body", { group }), button: all ? t("letters." + what + "All") : t("letters." + what, { n }), danger: what === "discard",
      act: settle,
    });
    if (r.done) toast(tn(what + ".done", done, { group }));
  };
  const letter = (l) => {
    const box = h("input", { type: "checkbox", value: l.position, checked: chosen.has(l.position), "aria-label": t("letters.choose", { id: l.id }), onchange: () => (box.checked ? chosen.add(l.position) : chosen.delete(l.position), mark()) });
    const facts = [[t("letter.id"), l.id], [t("letter.type"), l.type], [t("letter.key"), l.key], [t("letter.source"), l.source], [t("letter.instance"), l.instance], [t("letter.replays"), l.replays], [t("letter.firstError"), l.first_error !== l.last_error ? l.first_error : ""]]
      .filter(([, v]) => v).concat(Object.entries(l.attributes ?? {}));
    const said = l.data ?? "";
    const data = l.encoding === "base64" ? t("letter.binary", { size: bytes(l.size) }) + "\n" + said : indented(said);
    const cut = l.size > (l.encoding === "base64" ? (said.length / 4) * 3 : new TextEncoder().encode(said).length);
    return { node: h("li", { "data-letter": l.position }, box, h("details", {},
      h("summary", {}, h("span", { class: "letter-head" }, h("b", {}, l.reason || t("letter.dead")), h("span", { class: "error" }, l.last_error || l.first_error || ""),
        h("span", { class: "muted small" }, [l.type || l.key || l.id, tn("letter.attempts", l.attempts), day(l.buried)].join(" · ")))),
      h("dl", { class: "facts wide" }, facts.map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, String(v))))),
      h("pre", { tabindex: 0, role: "group", "aria-label": t("letter.data") }, data, cut ? "\n… " + bytes(l.size) : ""),
      h("p", { class: "links" }, l.trace ? h("a", { href: "#/calls/" + l.trace }, t("letter.trace")) : "")),
      h("button", { type: "button", class: "small", "data-action": "replay", "aria-label": t("letters.replayOne", { id: l.id }), onclick: () => act("replay", [l.position]) }, t("replay"))) };
  };
  const rows = new Keyed(list, letter);
  let shownLetters = [];
  let asking;
  // load asks for that many letters: for those after one, or for those from the beginning on.
  const load = async (wanted, after = "") => {
    asking?.abort();
    const mine = (asking = new AbortController());
    const found = after ? [...shownLetters] : [];
    try {
      let got;
      do {
        const page = await get(api(topic, group) + "/dead" + query({ after, limit: Math.min(wanted, maxPage) }), AbortSignal.any([stop.signal, mine.signal]));
        got = page.letters?.length ?? 0;
        found.push(...(page.letters ?? []));
        wanted -= got;
        after = page.next ?? "";
      } while (after && got && wanted > 0);
      note.replaceChildren();
      shownLetters = found.slice(-1000);
      rows.update(shownLetters, (l) => l.position);
      for (const p of chosen) if (!shownLetters.some((l) => l.position === p)) chosen.delete(p);
      next = after;
      more.hidden = !next;
    } catch (e) {
      if (e.name === "AbortError") return;
      failed(note, e);
    }
    list.removeAttribute("aria-busy");
    mark();
  };
  mark();
  load(pageSize);
  return { close: () => stop.abort() };
};
