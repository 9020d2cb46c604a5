// A trace as a waterfall: calls, with their attempts below each other on one scale, and the attempts of one call side by side.
import { h, text, sign } from "./dom.js";
import { t, tn, known } from "./i18n.js";
import { duration, since, value } from "./format.js";
import { fold, extent, startOf, ticks, failedSpan, isCall } from "./spans.js";

const attribute = (span, name) => span.attributes?.["holdfast." + name];

// waterfall draws the rows of a trace. path makes the address of a span.
export const waterfall = (trace, { all, chosen, path }) => {
  const { base, begin, length } = extent(trace.tree);
  const at = (span) => startOf(span.start, base) - begin;
  const left = (ns) => ((ns / length) * 100).toFixed(3) + "%";
  const bar = (span, kind) => {
    const b = h("span", { class: "bar " + kind + (failedSpan(span) ? " bad" : "") });
    b.style.left = left(at(span));
    b.style.width = `max(2px, ${left(span.duration)})`;
    return b;
  };
  const row = ({ kind, span, depth, attempts, attempt }) => {
    const one = attempts.length === 1 ? attempts[0] : undefined;
    const where = attempt ? attribute(span, "peer.instance") ?? attribute(span, "peer") ?? "" : one ? attribute(one.span, "peer.instance") ?? one.served?.instance ?? "" : span.instance || span.service;
    const mark = failedSpan(span) ? sign("dead", "bad") : attempts.length > 1 ? sign(attribute(span, "call.hedged") ? "hedged" : "retried", "retried") : undefined;
    const label = h("span", { class: "label" }, attempt ? h("span", { class: "number" }, attempt.hedge ? sign("hedged", "hedged") : "", String(attempt.number)) : "", mark,
      h("span", { class: "what" }, h("span", { class: "name" }, attempt ? where || t("attempt.nth", { n: attempt.number }) : span.name),
        h("span", { class: "muted small" }, [kind === "span" && span.kind !== "internal" ? known("kind.span", span.kind) : "", attempt ? (attempt.hedge ? t("attempt.aHedge") : "") : where && (kind === "span" ? "" : attempts.length > 1 ? "" : "→ ") + where, failedSpan(span) ? span.code || t("status.error") : attempt && attribute(span, "attempt.lost") ? t("attempt.lostIt") : "",
          attempts.length > 1 ? tn("calls.attempts", attempts.length) : ""].filter(Boolean).join(" · "))));
    label.style.paddingInlineStart = Math.min(8, depth) * 14 + "px";
    const lane = h("span", { class: "lane" }, kind === "call" ? [bar(span, "call"), attempts.map((a) => [bar(a.span, "attempt"), a.served && bar(a.served, "served")])] :
      attempt ? [bar(span, "attempt"), attempt.served && bar(attempt.served, "served")] : bar(span, span.kind === "server" || span.kind === "consumer" ? "served" : span.kind === "producer" ? "attempt" : "call"));
    const time = h("span", { class: "took" }, duration(span.duration));
    // The time stands behind its bar, or before it where there is no room.
    const end = (at(span) + span.duration) / length;
    if (end < 0.82) time.style.left = `calc(${(end * 100).toFixed(2)}% + 6px)`;
    else if (at(span) / length > 0.18) time.style.right = `calc(${(100 - (at(span) / length) * 100).toFixed(2)}% + 6px)`;
    else {
      time.style.right = "6px";
      time.className = "took on";
    }
    lane.append(time);
    return h("li", {}, h("a", { class: "span is-" + kind + (failedSpan(span) ? " bad" : ""), href: path(span.id), "data-span": span.id, "aria-current": span.id === chosen ? "true" : undefined,
      "aria-label": [attempt ? t("attempt.nth", { n: attempt.number }) : span.name, where, since(at(span)), duration(span.duration), failedSpan(span) ? span.code || span.error : ""].filter(Boolean).join(", ") }, label, lane));
  };
  const axis = h("div", { class: "axis", "aria-hidden": "true" }, h("span", { class: "label" }), h("span", { class: "lane" }, ticks(length, innerWidth < 640 ? 3 : 6).map((ns) => {
    const tick = h("span", { class: "tick" }, ns ? duration(ns) : "0");
    tick.style.left = left(ns);
    return tick;
  })));
  return h("div", { class: "waterfall" }, axis, h("ol", {}, fold(trace.tree, all).map(row)));
};

// attemptTable lays the attempts of a call side by side: a column each.
export const attemptTable = (call, attempts, trace) => {
  const { base } = extent(trace.tree);
  const start = startOf(call.start, base);
  const get = (name) => ({ span }) => attribute(span, name);
  const rows = [
    ["instance", ({ span, served }) => attribute(span, "peer.instance") ?? served?.instance],
    ["outcome", ({ span }) => (failedSpan(span) ? [attribute(span, "attempt.outcome"), span.code].filter(Boolean).join(", ") : attribute(span, "attempt.outcome") || "ok")],
    ["error", ({ span }) => span.error],
    ["sent", ({ span }) => since(startOf(span.start, base) - start)],
    ["waited", (a) => (get("attempt.wait_ms")(a) > 0 ? duration(get("attempt.wait_ms")(a) * 1e6) : "")],
    ["took", ({ span }) => duration(span.duration)],
    ["timeout", (a) => (get("attempt.timeout_ms")(a) > 0 ? duration(get("attempt.timeout_ms")(a) * 1e6) : "")],
    ["server", ({ served }) => served && duration(served.duration)],
    ["admission", ({ served }) => served && [attribute(served, "admission"), attribute(served, "limit") && t("attempt.load", { n: attribute(served, "in_flight") ?? 0, limit: attribute(served, "limit") })].filter(Boolean).join(", ")],
    ["why", get("pick.why")],
    ["candidates", get("pick.candidates")],
    ["ejected", get("pick.ejected")],
    ["budget", get("budget.tokens")],
    ["throttle", (a) => (get("throttle.refusing")(a) > 0 ? Math.round(get("throttle.refusing")(a) * 100) + " %" : "")],
    ["lost", (a) => (get("attempt.lost")(a) ? t("yes") : "")],
  ];
  const told = rows.map(([name, of]) => [name, attempts.map((a) => of(a))]).filter(([, values]) => values.some((v) => v !== undefined && v !== "" && v !== null && v !== 0));
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t("attempts.title") }, h("table", { class: "attempts" },
    h("thead", {}, h("tr", {}, h("td", {}), attempts.map((a) => h("th", { scope: "col", class: failedSpan(a.span) ? "bad" : "good" }, sign(failedSpan(a.span) ? "dead" : "ready", failedSpan(a.span) ? "bad" : "ready"), " ", t(a.hedge ? "attempt.hedge" : "attempt.nth", { n: a.number }))))),
    h("tbody", {}, told.map(([name, values]) => h("tr", {}, h("th", { scope: "row" }, t("attempt." + name)), values.map((v) => h("td", {}, v === undefined || v === null || v === "" ? "–" : value(v))))))));
};

// spanFacts is all that a span says of itself.
export const spanFacts = (span) => {
  const facts = [[t("fact.service"), [span.service, span.instance].filter(Boolean).join(" / ")], [t("span.took"), duration(span.duration)], [t("span.code"), span.code], [t("attempt.error"), span.error],
    [t("span.skew"), span.skew ? duration(Math.abs(span.skew)) : ""], ...Object.entries(span.attributes ?? {}).sort(([a], [b]) => a.localeCompare(b)).map(([k, v]) => [k, value(v)])];
  const node = h("div", {}, isCall(span) ? h("p", { class: "muted small" }, t("span.call")) : "", h("dl", { class: "facts wide" }, facts.filter(([, v]) => v).map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v)))));
  for (const e of span.events ?? []) {
    const line = h("p", { class: "small" });
    text(line, e.name + " " + Object.entries(e.attributes ?? {}).map(([k, v]) => k + "=" + value(v)).join(" "));
    node.append(line);
  }
  return node;
};
