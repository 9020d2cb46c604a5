// Three figures with a line each of how they went: rate, failures, p99.
import { h, s, text, attr, spark } from "./dom.js";
import { t } from "./i18n.js";
import { rate, share, duration, none } from "./format.js";

// figuresBox's update takes {rate, errors, p99}, or undefined where nothing is known, and the last points of each.
export const figuresBox = (kind = "") => {
  const parts = ["rate", "errors", "p99"].map((key) => {
    const number = h("dd", {});
    const path = s("path", { class: "spark-line" });
    const node = h("div", {}, h("dt", {}, t("figure." + key)), number,
      h("dd", { class: "spark-box", "aria-hidden": "true" }, s("svg", { viewBox: "0 0 120 28", preserveAspectRatio: "none", class: "spark" }, path)));
    return { key, number, path, node };
  });
  return { node: h("dl", { class: "figures-box " + kind }, parts.map((p) => p.node)), update(now, past) {
    for (const p of parts) {
      text(p.number, !now ? none : p.key === "rate" ? rate(now.rate) : p.key === "errors" ? share(now.errors, now.rate) : duration(now.p99));
      if (past) spark(p.path, past[p.key], 120, 28);
    }
    attr(parts[1].node, "class", now && now.rate > 0 && now.errors / now.rate >= 0.01 ? "bad" : undefined);
  } };
};
