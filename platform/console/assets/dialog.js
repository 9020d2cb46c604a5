// What is laid over the page: questions before something is done, short notes after, help.
import { h, text, sign } from "./dom.js";
import { t } from "./i18n.js";

// open shows a dialog until it is closed; what had the focus gets it back, as the browser does it.
const open = (label, ...children) => {
  const box = h("dialog", { "aria-labelledby": "dialog-title", class: "box" }, h("h2", { id: "dialog-title" }, label), ...children);
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (e) => {
    if (e.target === box) box.close(); // beside it
  });
  document.body.append(box);
  box.showModal();
  return box;
};

// confirm asks before something is done, naming what and to whom. When it is confirmed, act runs while the dialog stays: what goes
// wrong is said in it, and in passing once it was closed; act is given a function that says whether it is open. It resolves to whether
// it was done, and with what.
export const confirm = ({ title, body, button, act, danger, fields }) =>
  new Promise((resolve) => {
    const trouble = h("p", { class: "trouble", role: "alert", hidden: true });
    const yes = h("button", { type: "submit", class: danger ? "danger" : "primary", "data-confirm": true }, button);
    let done = { done: false };
    const form = h("form", { method: "dialog" },
      (Array.isArray(body) ? body : [body]).filter(Boolean).map((line) => h("p", {}, line)), fields, trouble,
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => box.close() }, t("cancel")), yes));
    const box = open(title, form);
    form.addEventListener("submit", async (e) => {
      e.preventDefault();
      yes.disabled = true;
      trouble.hidden = true;
      try {
        done = { done: true, value: await act(() => box.open) };
        box.close();
        resolve(done);
      } catch (error) {
        if (!box.open) {
          toast(said(error), "bad");
          return resolve(done);
        }
        text(trouble, said(error));
        trouble.hidden = false;
        yes.disabled = false;
        yes.focus();
      }
    });
    box.addEventListener("close", () => yes.disabled || resolve(done)); // what was begun is told at its end
    yes.focus();
  });

// said is what went wrong in words for people.
export const said = (error) => {
  if (error.name === "TimeoutError") return t("error.timeout");
  if (error instanceof TypeError) return t("error.network");
  if (error.status === 401 || error.status === 403) return error.message + " " + t("right.how");
  return error.message;
};

// failed says in place what could not be shown.
export const failed = (parent, error) => parent.replaceChildren(h("p", { class: "trouble", role: "alert" }, sign("warn", "bad"), " ", said(error)));

// toast says in passing what was done, for some seconds, with one way to undo it.
export const toast = (words, kind = "good", undo) => {
  const list = document.getElementById("toasts");
  const note = h("div", { class: "toast is-" + kind }, sign(kind === "good" ? "ready" : "warn", kind), h("span", {}, words));
  const gone = () => note.remove();
  let timer = setTimeout(gone, undo ? 15_000 : 6_000);
  note.addEventListener("pointerenter", () => clearTimeout(timer));
  note.addEventListener("pointerleave", () => (timer = setTimeout(gone, 4_000)));
  if (undo) {
    note.append(h("button", { type: "button", onclick: async (e) => {
      e.target.disabled = true;
      try {
        await undo.act();
        gone();
      } catch (error) {
        toast(said(error), "bad");
      }
    } }, undo.label));
  }
  note.append(h("button", { type: "button", class: "quiet", "aria-label": t("close"), onclick: gone }, "×"));
  list.append(note);
  while (list.children.length > 4) list.firstChild.remove();
};

// help lists the keys, and what the signs mean.
export const help = (views) => {
  const row = (k, what) => h("div", {}, h("dt", {}, h("kbd", {}, k)), h("dd", {}, what));
  const mark = (name, kind = name) => h("div", {}, h("dt", {}, sign(name, kind)), h("dd", {}, t("state." + name) + ": " + t("state." + name + ".means")));
  open(t("help.title"),
    h("div", { class: "help" },
      h("section", {}, h("h3", {}, t("help.keys")), h("dl", {},
        views.map((v) => row(v.key, t(v.title))), row("/", t("help.search")), row("↑ ↓", t("help.rows")), row("k f r", t("help.actions")), row("Esc", t("help.escape")), row("?", t("help.this")))),
      h("section", {}, h("h3", {}, t("help.signs")), h("dl", {}, ["ready", "starting", "draining", "frozen", "ejected", "dead", "unknown", "stopped"].map((n) => mark(n))))),
    h("form", { method: "dialog", class: "buttons" }, h("button", { class: "primary" }, t("close"))));
};
