// What the processes write, as it comes, with search.
import { h, text, attr } from "./dom.js";
import { t, tn } from "./i18n.js";
import { store } from "./store.js";
import { lines, query } from "./api.js";
import { clock } from "./format.js";
import { failed } from "./dialog.js";

const most = 2000; // lines that are kept on the page

// level is how bad a line is: as it says itself, or as its words have it.
const level = (l) => {
  const word = (l.level || /\b(level=|"level":\s*")(\w+)/i.exec(l.text ?? "")?.[2] || "").toLowerCase();
  if (/^(error|fatal|panic)/.test(word) || /^panic: /.test(l.text ?? "")) return "bad";
  return /^warn/.test(word) ? "warn" : /^debug/.test(word) ? "debug" : "";
};

// words leaves out the time that a line begins with: it stands before it.
const words = (text) => (text ?? "").replace(/^time=\S+ /, "");

// logLine makes a line's element.
export const logLine = (l) => {
  const trace = l.trace ? h("a", { href: "#/calls/" + l.trace + (l.span ? "/" + l.span : ""), class: "small", "aria-label": t("logs.trace") }, t("logs.call")) : "";
  const node = h("li", { class: level(l) }, h("time", { datetime: l.time }, clock(l.time, true)), h("a", { class: "who", href: "#/instance/" + encodeURIComponent(l.instance) }, l.instance),
    h("span", { class: "said" }, l.dropped ? h("em", {}, tn("logs.dropped", l.dropped)) : "", words(l.text), trace ? " " : "", trace));
  return { node };
};

export const logs = (root) => {
  const search = h("input", { type: "search", "aria-label": t("logs.search"), placeholder: t("logs.search"), oninput: () => filter() });
  const service = h("select", { "aria-label": t("logs.service"), onchange: () => (location.hash = "#/logs" + query({ service: service.value })) });
  const onlyBad = h("input", { type: "checkbox", onchange: () => filter() });
  const hold = h("button", { type: "button", class: "chip toggle", "aria-pressed": "true", onclick: () => {
    following = !following;
    attr(hold, "aria-pressed", String(following));
    flush();
  } }, t("logs.follow"));
  const found = h("output", { class: "muted small", "aria-live": "off" });
  const note = h("div", {});
  const list = h("ol", { class: "log-list tall", "aria-busy": "true" });
  const box = h("div", { class: "scroll log-box", tabindex: 0, role: "log", "aria-live": "off", "aria-label": t("nav.logs") }, list);
  root.append(h("h1", {}, t("nav.logs")), h("section", { class: "card", "aria-label": t("nav.logs") }, h("div", { class: "filter" }, search, service, h("label", { class: "check" }, onlyBad, t("logs.bad")), hold, found), note, box));

  let following = true;
  let waiting = [];
  let anew = false; // what waits is all that there is: it takes the place of what is shown
  let kept = []; // {line, node, where}
  let stop;
  let chosen;
  let names = "";
  let wanted = [];
  const fits = (k) => wanted.every((w) => k.where.includes(w)) && (!onlyBad.checked || k.level === "bad" || k.level === "warn");
  const count = () => text(found, t("found", { n: kept.reduce((n, k) => n + !k.node.hidden, 0), all: kept.length }));
  const filter = () => {
    wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const k of kept) k.node.hidden = !fits(k);
    count();
    if (following) box.scrollTop = box.scrollHeight;
  };
  // Lines are put in once a frame, however many have come.
  let pending = false;
  const flush = () => {
    if (pending || !following) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      if (!waiting.length) return;
      list.removeAttribute("aria-busy");
      const bottom = box.scrollTop + box.clientHeight > box.scrollHeight - 40;
      if (anew) {
        anew = false;
        kept = [];
        list.replaceChildren();
      }
      const part = document.createDocumentFragment();
      for (const line of waiting) {
        const k = { node: logLine(line).node, where: ((line.text ?? "") + " " + line.instance).toLowerCase(), level: level(line) };
        k.node.hidden = !fits(k);
        kept.push(k);
        part.append(k.node);
      }
      waiting = [];
      list.append(part);
      for (const k of kept.splice(0, Math.max(0, kept.length - most))) k.node.remove();
      count();
      if (bottom) box.scrollTop = box.scrollHeight;
    });
  };
  const open = async () => {
    stop?.abort();
    const mine = (stop = new AbortController());
    kept = [];
    waiting = [];
    anew = false;
    list.replaceChildren();
    for (let wait = 500; !mine.signal.aborted; wait = Math.min(5000, wait * 2)) {
      // A connection begins with lines that the one before it may have had. Until they are there, the old ones can be read on.
      let first = true;
      try {
        await lines("/v1/logs" + query({ service: chosen, follow: "true", lines: Math.max(300, kept.length) }), (line) => {
          wait = 500;
          if (first) {
            first = false;
            anew = true;
            waiting = [];
          }
          if (waiting.push(line) > most) waiting.shift();
          flush();
        }, mine.signal);
      } catch (e) {
        if (e.name === "AbortError" || mine.signal.aborted) return;
        failed(note, e);
        if (e.status === 404 || e.status === 400) return;
      }
      await new Promise((go) => setTimeout(go, wait));
      note.replaceChildren();
    }
  };
  return {
    update() {
      const all = ["", ...store.services.keys()];
      if (chosen && !all.includes(chosen)) all.push(chosen);
      if (all.join() !== names) {
        names = all.join();
        service.replaceChildren(...all.map((n) => h("option", { value: n }, n || t("logs.all"))));
        service.value = chosen ?? "";
      }
    },
    go({ params }) {
      if (params.has("q")) search.value = params.get("q");
      wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const next = params.get("service") ?? "";
      if (next === chosen) return filter();
      chosen = next;
      names = "";
      open();
    },
    close: () => stop?.abort(),
  };
};
