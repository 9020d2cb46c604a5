// What can be done to instances and services. Everything is asked first, by name; what can be undone says how afterwards.
import { h } from "./dom.js";
import { t, tn } from "./i18n.js";
import { store, shown } from "./store.js";
import { post, postPatiently, mayOperate } from "./api.js";
import { confirm, said, toast } from "./dialog.js";

const left = (i) => {
  const of = store.services.get(i.service)?.instances ?? [];
  const ready = of.filter((o) => o.state === "ready");
  return tn("confirm.left", ready.filter((o) => o.id !== i.id).length, { service: i.service, all: of.length });
};

const rights = () => (mayOperate() ? undefined : t("right.view") + ": " + t("right.how"));

const done = {
  kill: async (i) => {
    const r = await confirm({ title: t("kill.title", { name: i.id }), body: [t("kill.body"), left(i), i.role && t("confirm.role", { role: i.role }), rights()],
      button: t("kill.button", { name: i.id }), danger: true, act: () => post("/v1/kill", { target: i.id }) });
    if (r.done) toast(t("kill.done", { name: i.id }));
  },
  freeze: async (i) => {
    const r = await confirm({ title: t("freeze.title", { name: i.id }), body: [t("freeze.body"), left(i), i.role && t("confirm.role", { role: i.role }), rights()],
      button: t("freeze.button", { name: i.id }), danger: true, act: () => post("/v1/freeze", { target: i.id }) });
    if (r.done) toast(t("freeze.done", { name: i.id }), "good", { label: t("thaw"), act: () => post("/v1/thaw", { target: i.id }) });
  },
  thaw: async (i) => {
    const r = await confirm({ title: t("thaw.title", { name: i.id }), body: [t("thaw.body"), rights()], button: t("thaw.button", { name: i.id }), act: () => post("/v1/thaw", { target: i.id }) });
    if (r.done) toast(t("thaw.done", { name: i.id }));
  },
  restart: (i) => restart(i.id, [t("restart.one"), left(i)]),
};

// begun asks for what takes as long as instances do, and waits for it as long as a refusal takes: the page shows how far it is. It
// resolves to whether that was its end; if not, what goes wrong is said in passing, and later is called if nothing does.
const begun = async (path, body, later) => {
  const end = postPatiently(path, body).then(() => true);
  const ended = await Promise.race([end, new Promise((go) => setTimeout(go, 1500))]);
  if (!ended) end.then(later, (e) => toast(said(e), "bad"));
  return Boolean(ended);
};

const restart = async (target, body) => {
  const ended = () => toast(t("restart.done", { name: target }));
  const r = await confirm({ title: t("restart.title", { name: target }), body: [...body, rights()], button: t("restart.button", { name: target }), act: () => begun("/v1/restart", { target }, ended) });
  if (r.done) r.value ? ended() : toast(t("restart.begun", { name: target }));
};

// does is what can be done to an instance in its state, as names of what run does.
export const does = (i) => (i.state === "frozen" ? ["thaw", "kill"] : i.pid ? ["kill", "freeze", "restart"] : []);

export const run = (what, instance) => {
  const i = store.byID.get(instance.id) ?? instance;
  if (does(i).includes(what)) done[what](i);
};

// buttons are those of an instance; update keeps them in step with its state.
export const buttons = (small) => {
  const node = h("span", { class: "actions" });
  let now;
  let of;
  return {
    node,
    update(i) {
      of = i;
      const can = does(i).join();
      if (can === now) return;
      now = can;
      const focused = node.contains(document.activeElement) && document.activeElement.dataset.action;
      node.replaceChildren(...does(i).map((what) => h("button", { type: "button", class: (small ? "small " : "") + (what === "kill" ? "risky" : ""), "data-action": what,
        "aria-label": t(what + ".button", { name: i.id }), onclick: (e) => (e.stopPropagation(), run(what, of)) }, t(what))));
      if (focused) (node.querySelector("[data-action=" + focused + "]") ?? node.firstChild)?.focus();
    },
  };
};

export const restartService = (s) => restart(s.name, [t("restart.all", { service: s.name })]);

// maxReplicas is how many instances a service can have.
export const maxReplicas = 64;

// scale asks how many instances a service should have.
export const scale = async (s, to = s.replicas) => {
  const input = h("input", { type: "number", min: 0, max: maxReplicas, step: 1, required: true, value: String(to), id: "scale-to" });
  const was = s.replicas;
  const auto = Boolean(s.autoscale);
  const r = await confirm({
    title: t("scale.title", { name: s.name }),
    body: [tn("scale.body", was, { service: s.name }), auto && t("scale.auto"), rights()],
    fields: h("label", { class: "field", for: "scale-to" }, t("scale.to"), input),
    button: t("scale.button", { name: s.name }),
    act: async () => {
      const replicas = Number(input.value);
      await begun("/v1/scale", { service: s.name, replicas });
      return replicas;
    },
  });
  if (r.done) {
    toast(t("scale.done", { name: s.name, from: was, to: r.value }), "good",
      auto ? { label: t("scale.autoAgain"), act: () => begun("/v1/scale", { service: s.name, auto: true }) } :
        { label: t("scale.back", { to: was }), act: () => begun("/v1/scale", { service: s.name, replicas: was }) });
  }
};

// stateWords is an instance's state in words, with what leads to it.
export const stateWords = (i) => t("state." + shown(i)) + (i.state === "crash-looping" ? " (" + t("state.looping") + ")" : "");
