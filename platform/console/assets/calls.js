// Calls: those that were kept, and of one of them why it went as it did.
import { h, text, attr, sign, resign, Keyed } from "./dom.js";
import { t, tn, lang } from "./i18n.js";
import { store } from "./store.js";
import { get, query } from "./api.js";
import { duration, clock, since } from "./format.js";
import { failed } from "./dialog.js";
import { waterfall, attemptTable, spanFacts } from "./waterfall.js";
import { attemptsOf, isCall, isAttempt, failedSpan } from "./spans.js";
import { logLine } from "./logs.js";

const statuses = ["", "error", "slow", "retried", "hedged"];
const marks = { ok: "ready", error: "dead", slow: "slow", retried: "retried", hedged: "hedged" };

export const calls = (root) => {
  const chosen = { service: "", status: "", text: "", min: "" };
  const where = () => "#/calls" + query(chosen);
  const move = () => history.replaceState(null, "", where());
  const service = h("select", { "aria-label": t("calls.service"), onchange: () => ((chosen.service = service.value), move(), load()) });
  const chips = statuses.map((word) => h("button", { type: "button", class: "chip toggle", "aria-pressed": "false", "data-status": word || "all", onclick: () => ((chosen.status = word), move(), load()) },
    word && sign(marks[word], word === "error" ? "bad" : word), t("status." + (word || "all"))));
  let typing;
  const later = () => (clearTimeout(typing), (typing = setTimeout(() => (move(), load()), 250)));
  const search = h("input", { type: "search", "aria-label": t("calls.text"), placeholder: t("calls.text"), maxlength: 200, oninput: () => ((chosen.text = search.value.trim()), later()) });
  const min = h("select", { "aria-label": t("calls.min"), onchange: () => ((chosen.min = min.value), move(), load()) },
    ["", "10ms", "50ms", "100ms", "250ms", "500ms", "1s", "5s"].map((v) => h("option", { value: v }, v ? "≥ " + v.replace(/(\d)([ms])/, "$1 $2") : t("calls.anyLength"))));
  const follow = h("button", { type: "button", class: "chip toggle", "aria-pressed": "true", onclick: () => setFollow(!following) }, t("calls.follow"));
  const list = h("ol", { class: "call-list", "aria-busy": "true" });
  const note = h("div", {});
  const empty = h("p", { class: "muted", hidden: true });
  const detail = h("div", { class: "detail" });
  const split = h("div", { class: "split calls-split" },
    h("div", { class: "master" }, h("section", { class: "card", "aria-label": t("nav.calls") },
      h("div", { class: "filter" }, search, service, min, h("div", { class: "chips", role: "group", "aria-label": t("calls.status") }, chips), follow), note, empty, list)), detail);
  root.append(h("h1", {}, t("nav.calls")), split);

  let following = true;
  let open;
  let shownKey;
  let asking;
  const setFollow = (on) => {
    following = on;
    attr(follow, "aria-pressed", String(on));
    if (on) load();
  };
  const rows = new Keyed(list, (c) => {
    const when = h("span", { class: "muted small" });
    const mark = sign("unknown");
    const [name, about, took] = [h("span", { class: "root" }), h("span", { class: "muted small" }), h("b", {})];
    const link = h("a", { href: "#/calls/" + c.id, "data-trace": c.id }, mark, h("span", { class: "main" }, name, about), h("span", { class: "n" }, took, when));
    link.addEventListener("click", () => following && setFollow(false));
    // A call is listed from its first span on: all but its ID changes until the last one has come.
    return { node: h("li", {}, link), update(now) {
      attr(link, "data-status", now.status);
      resign(mark, marks[now.status] ?? "unknown", now.status === "ok" ? "ready" : now.status === "error" ? "bad" : now.status);
      text(name, now.root);
      text(about, [now.service, now.status !== "ok" && t("status." + now.status), now.error].filter(Boolean).join(" · "));
      text(took, duration(now.duration));
      text(when, clock(now.start));
      attr(link, "aria-current", now.id === shownKey?.split("/")[0] ? "true" : undefined);
      attr(link, "title", tn("calls.spans", now.spans) + ", " + tn("calls.attempts", now.attempts) + ": " + now.services.join(", "));
    } };
  });
  let got = [];
  const load = async () => {
    chips.forEach((c, i) => attr(c, "aria-pressed", String(statuses[i] === chosen.status)));
    asking?.abort();
    const mine = (asking = new AbortController());
    try {
      const { traces } = await get("/v1/traces" + query({ ...chosen, limit: 100 }), mine.signal);
      got = traces;
      note.replaceChildren();
      rows.update(got, (c) => c.id);
      empty.hidden = got.length > 0;
      text(empty, t(chosen.status || chosen.text || chosen.service || chosen.min ? "calls.noneFit" : "calls.none"));
    } catch (e) {
      if (e.name === "AbortError") return;
      failed(note, e);
    }
    if (asking === mine) asking = undefined;
    list.removeAttribute("aria-busy");
  };
  const timer = setInterval(() => following && !document.hidden && !asking && load(), 2000);
  let services = "";

  return {
    update() {
      const names = ["", ...new Set([...store.services.keys(), ...(store.nodes?.keys() ?? [])])];
      if (names.join() !== services) {
        services = names.join();
        service.replaceChildren(...names.map((n) => h("option", { value: n }, n || t("calls.anyService"))));
        service.value = chosen.service;
      }
    },
    go({ args, params }) {
      if (!args.length || [...params].length) for (const k of Object.keys(chosen)) chosen[k] = params.get(k) ?? (args.length ? chosen[k] : "");
      search.value = chosen.text;
      min.value = chosen.min;
      service.value = chosen.service;
      const key = args.join("/");
      attr(split, "class", "split calls-split" + (args.length ? " has-detail" : ""));
      if (key !== shownKey) {
        shownKey = key;
        open?.close();
        if (args.length) open = callDetail(detail, args[0], args[1], where());
        else {
          open = undefined;
          detail.replaceChildren(h("section", { class: "card hint" }, h("p", { class: "muted" }, t("calls.choose"))));
        }
      }
      if (args.length && following) setFollow(false);
      if (args.length && got.length) rows.update(got, (c) => c.id);
      else load();
    },
    // The arrows go from call to call.
    key(e) {
      if (e.key === "Escape" && shownKey) return (location.hash = where()), true;
      if (e.key !== "ArrowDown" && e.key !== "ArrowUp") return false;
      const links = [...list.querySelectorAll("a")];
      if (document.activeElement?.closest?.(".detail")) return false;
      links[links.indexOf(document.activeElement) + (e.key === "ArrowDown" ? 1 : -1)]?.focus();
      return true;
    },
    close() {
      clearInterval(timer);
      asking?.abort();
      open?.close();
    },
  };
};

// callDetail shows one trace: what happened in words, then the waterfall, then the span that was chosen, then its log lines.
const callDetail = (root, id, spanID, back) => {
  const stop = new AbortController();
  const words = h("section", { class: "card explain", "aria-busy": "true", "aria-label": t("explain.title") }, h("p", { class: "muted" }, t("waiting")));
  const rest = h("div", { "aria-busy": "true" });
  const loaded = (box) => box.removeAttribute("aria-busy");
  root.replaceChildren(h("p", { class: "back" }, h("a", { href: back }, "‹ " + t("calls.back"))), words, rest);
  root.scrollTop = 0;
  const path = (span) => "#/calls/" + encodeURIComponent(id) + (span ? "/" + encodeURIComponent(span) : "");

  const explain = async (span) => {
    try {
      const e = await get("/v1/explain/" + encodeURIComponent(span || id) + "?lang=" + lang(), stop.signal);
      const kind = e.status === "ok" ? "good" : e.status === "error" ? "bad" : "warn";
      attr(words, "class", "card explain is-" + kind);
      words.replaceChildren(h("div", { class: "head" }, h("h2", { tabindex: -1 }, e.title), h("span", { class: "chip is-" + kind }, sign(marks[e.status] ?? "unknown", kind), t("status." + e.status))),
        h("p", { class: "verdict lead" }, e.verdict),
        h("ol", { class: "story" }, (e.lines ?? []).map((l) => h("li", { class: "level-" + Math.min(4, l.level) + (l.bad ? " bad" : "") }, h("span", { class: "at" }, since(l.at)),
          h("span", {}, l.bad && sign("dead", "bad"), l.bad && " ", l.span ? h("a", { href: path(l.span) }, l.text) : l.text)))),
        e.advice?.length ? h("div", { class: "advice" }, h("h3", {}, t("explain.advice")), h("ul", {}, e.advice.map((a) => h("li", {}, a)))) : "",
        span ? h("p", { class: "small" }, h("a", { href: path() }, t("explain.whole"))) : "");
    } catch (e) {
      if (e.name !== "AbortError") failed(words, e);
    }
    loaded(words);
  };

  let again; // what is missing may still come, as it does in the first seconds
  let tries = 0;
  const draw = async () => {
    try {
      const trace = await get("/v1/traces/" + encodeURIComponent(id), stop.signal);
      if ((trace.incomplete || (trace.tree[0]?.parent && !trace.tree[0].depth)) && tries++ < 5) {
        again = setTimeout(() => {
          draw();
          explain(spanID);
        }, 2000);
      }
      const span = trace.tree.find((x) => x.id === spanID);
      const call = span && isAttempt(span) ? trace.tree.find((x) => x.id === span.parent) ?? span : span;
      let all = false;
      const box = h("div", { class: "waterfall-box" });
      const toggle = h("button", { type: "button", class: "quiet small", "aria-pressed": "false", onclick: () => {
        all = !all;
        attr(toggle, "aria-pressed", String(all));
        box.replaceChildren(waterfall(trace, { all, chosen: spanID, path }));
      } }, t("calls.allSpans"));
      box.append(waterfall(trace, { all, chosen: spanID, path }));
      // Without a choice, what is laid side by side is the first call that needed more than one attempt, or failed.
      const focus = call && isCall(call) ? call : span ? undefined : trace.tree.find((x) => isCall(x) && attemptsOf(x, trace.tree).length > 1) ?? trace.tree.find((x) => isCall(x) && failedSpan(x));
      const attempts = focus ? attemptsOf(focus, trace.tree) : [];
      rest.replaceChildren(
        h("section", { class: "card", "aria-label": t("waterfall.title") }, h("div", { class: "head" }, h("h2", {}, t("waterfall.title")), h("span", { class: "muted small" }, clock(trace.start, true) + " · " + tn("calls.spans", trace.spans) + " · " + trace.id.slice(0, 12)), toggle),
          trace.incomplete ? h("p", { class: "muted small" }, trace.incomplete) : "", box),
        attempts.length ? h("section", { class: "card", "aria-label": t("attempts.title") }, h("h2", {}, t("attempts.of", { call: focus.name, n: attempts.length })), attemptTable(focus, attempts, trace)) : "",
        span ? h("section", { class: "card", "aria-label": t("span.title") }, h("h2", {}, span.name), spanFacts(span)) : "",
        trace.logs?.length ? h("section", { class: "card", "aria-label": t("nav.logs") }, h("h2", {}, t("calls.logs")), h("ol", { class: "log-list" }, trace.logs.map((l) => logLine(l).node))) : "");
    } catch (e) {
      if (e.name !== "AbortError") failed(rest, e);
    }
    loaded(rest);
  };
  explain(spanID);
  draw();
  return { close: () => {
    clearTimeout(again);
    stop.abort();
  } };
};
