// What the page knows: the newest Live document, what it was a while ago, and what happened. Views read it and are told, once a
// frame, that it has changed.
import { t, tn } from "./i18n.js";
import { rate, share, age, duration } from "./format.js";

const remembered = 300; // points of history: five minutes
const maxEvents = 1000;
const forget = 60_000; // ms for which an edge without calls is still drawn

export const store = {
  live: undefined, // Live
  link: "off", // of the stream: "on", "off", "denied"
  since: Date.now(), // of link
  events: [], // oldest first
  history: new Map(), // service → {rate, errors, p99}: arrays of the last points; "" is the whole system
  edges: new Map(), // key → Edge, also those that have just become silent
  byID: new Map(), // instances
  services: [], // names, in the order of the system
  problems: [],
  calm: true, // whether figures are drawn anew in this frame: states are in each, figures once a second, as fast as they are read
};

const watchers = new Set();
let pending = false;
let figures = 0; // when figures were drawn last

// watch calls f in the next frame after anything has changed, until the function that it returns is called.
export const watch = (f) => {
  watchers.add(f);
  return () => watchers.delete(f);
};

export const changed = () => {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    const at = performance.now();
    store.calm = at - figures >= 900;
    if (store.calm) figures = at;
    for (const f of watchers) f();
    store.calm = true; // for what is drawn because of the user
  });
};

// shown is an instance's state as it is drawn: one of the shapes' names.
export const shown = (i) => {
  switch (i.state) {
    case "ready":
      return i.draining ? "draining" : i.ejected?.length ? "ejected" : "ready";
    case "starting": case "building": case "waiting":
      return "starting";
    case "draining": case "stopping":
      return "draining";
    case "frozen":
      return "frozen";
    case "backoff": case "crash-looping": case "dead": case "failed":
      return "dead";
    case "stopped":
      return "stopped";
  }
  return "unknown";
};

// rank orders states by how much they want to be seen.
const ranks = { dead: 0, frozen: 1, unknown: 2, ejected: 3, starting: 4, draining: 5, stopped: 6, ready: 7 };
export const rank = (i) => ranks[shown(i)];

export const edgeKey = (e) => e.from + "\n" + e.to + "\n" + e.kind + "\n" + (e.topic ?? "");

const push = (list, value) => {
  list.push(value);
  if (list.length > remembered) list.shift();
};

let sampled = -Infinity;

// take makes a Live document the newest.
export const take = (live) => {
  store.live = live;
  live.instances ??= [];
  for (const list of ["groups", "queues", "locks", "faults"]) live[list] ??= [];
  const now = performance.now(); // the clock by which live.at is told may be set

  const byID = new Map();
  const services = new Map(live.info.services?.map((s) => [s.name, { ...s, instances: [] }]));
  for (const i of live.instances) {
    byID.set(i.id, i);
    if (!services.has(i.service)) services.set(i.service, { name: i.service, instances: [] });
    services.get(i.service).instances.push(i);
  }
  store.byID = byID;
  store.services = services;
  store.nodes = new Map((live.graph?.nodes ?? []).map((n) => [n.service, n]));

  for (const e of live.graph?.edges ?? []) store.edges.set(edgeKey(e), { ...e, seen: e.rate > 0 ? now : store.edges.get(edgeKey(e))?.seen ?? now });
  const present = new Set((live.graph?.edges ?? []).map(edgeKey));
  for (const [key, e] of store.edges) {
    if (present.has(key)) continue;
    if (now - e.seen > forget) store.edges.delete(key);
    else store.edges.set(key, { ...e, rate: 0, errors: 0, retries: 0, hedges: 0, p50: 0, p99: 0 });
  }

  if (now - sampled >= 900) {
    sampled = now;
    for (const n of [...store.nodes.values(), { ...whole(), service: "" }]) {
      let h = store.history.get(n.service);
      if (!h) store.history.set(n.service, (h = { rate: [], errors: [], p99: [] }));
      push(h.rate, n.rate);
      push(h.errors, n.errors);
      push(h.p99, n.p99);
    }
    for (const name of store.history.keys()) if (name && !store.nodes.has(name)) store.history.delete(name);
  }
  store.problems = problems();
  changed();
};

// whole is the traffic of the system: what enters it from outside, or, where that is not known, what enters the services that
// nobody of the system calls.
export const whole = () => {
  const live = store.live;
  const nodes = live?.graph?.nodes ?? [];
  const edge = live?.edge?.rates;
  if (edge && edge.rate > 0) return edge;
  const called = new Set((live?.graph?.edges ?? []).filter((e) => e.from !== "edge" && e.kind === "call").map((e) => e.to));
  const doors = nodes.filter((n) => !called.has(n.service) && n.service !== "edge");
  const from = doors.length ? doors : nodes;
  return {
    rate: from.reduce((sum, n) => sum + n.rate, 0),
    errors: from.reduce((sum, n) => sum + n.errors, 0),
    p50: Math.max(0, ...from.map((n) => n.p50)),
    p99: Math.max(0, ...from.map((n) => n.p99)),
  };
};

let serial = 0;
const sameness = (e) => e.time + "\n" + (e.instance ?? "") + "\n" + (e.state ?? "") + "\n" + e.message;

// happened takes an event.
export const happened = (event) => {
  event.key = ++serial; // its own for ever: rows are known by it
  store.events.push(event);
  if (store.events.length > maxEvents) store.events.splice(0, store.events.length - maxEvents);
  changed();
};

// kept takes events that were kept elsewhere: of before the page was opened, and of while its stream was broken.
export const kept = (events) => {
  const known = new Set(store.events.map(sameness));
  const more = events.filter((e) => !known.has(sameness(e)));
  if (!more.length) return;
  for (const e of more) e.key = ++serial;
  store.events = [...store.events, ...more].sort((a, b) => Date.parse(a.time) - Date.parse(b.time) || a.key - b.key).slice(-maxEvents);
  changed();
};

export const linked = (word) => {
  if (store.link === word) return;
  store.link = word;
  store.since = Date.now();
  changed();
};

// failing is how bad it is that so many of a node's calls fail: "bad", "warn", or undefined if there are few, or hardly any calls.
export const failing = (n) => (!(n?.rate >= 0.2) || n.errors / n.rate < 0.01 ? undefined : n.errors / n.rate < 0.1 ? "warn" : "bad");

// problems is what is wrong now, worst first: {level: "bad" | "warn" | "info", text, href, since, key}.
export const problems = () => {
  const { live } = store;
  if (!live) return [];
  const found = [];
  const say = (level, key, words, href, since) => found.push({ level, key, text: words, href, since });

  // Of calls that reach no instance, no service knows: only the edge has seen them fail.
  const edge = live.edge?.rates ?? store.nodes.get("edge");
  if (failing(edge)) say(failing(edge), "errors at the edge", t("problem.edge", { share: share(edge.errors, edge.rate), rate: rate(edge.rate) }), "#/calls?status=error&service=edge");
  for (const s of store.services.values()) {
    const of = s.instances;
    const ready = of.filter((i) => i.state === "ready").length;
    const wanted = s.replicas ?? of.length;
    if (of.length && ready === 0 && live.info.state !== "starting" && live.info.state !== "building") {
      say("bad", "none " + s.name, t("problem.none", { service: s.name }), "#/service/" + encodeURIComponent(s.name));
    }
    const sick = of.filter((i) => ["dead", "frozen", "unknown", "ejected"].includes(shown(i)));
    if (sick.length > 3) {
      const kinds = new Map();
      for (const i of sick) kinds.set(shown(i), (kinds.get(shown(i)) ?? 0) + 1);
      for (const [kind, n] of kinds) {
        say(kind === "ejected" ? "warn" : "bad", kind + " " + s.name, t("problem.many", { n, all: of.length, service: s.name, state: t("state." + kind) }),
          "#/instances?q=" + encodeURIComponent(s.name));
      }
    } else {
      for (const i of sick) {
        const kind = shown(i);
        const why = kind === "ejected" ? i.ejected[0] : kind === "dead" ? i.reason : "";
        say(kind === "ejected" ? "warn" : "bad", i.id + kind, t("problem.instance", { instance: i.id, state: t("state." + kind) }) + (why ? ": " + why : ""),
          "#/instance/" + encodeURIComponent(i.id), kind === "ejected" ? undefined : i.since);
      }
    }
    if (of.length && of.length < wanted) say("warn", "missing " + s.name, tn("problem.missing", wanted - of.length, { service: s.name }), "#/service/" + encodeURIComponent(s.name));
    const n = store.nodes.get(s.name);
    if (failing(n)) {
      say(failing(n), "errors " + s.name, t("problem.errors", { service: s.name, share: share(n.errors, n.rate), rate: rate(n.rate) }),
        "#/calls?status=error&service=" + encodeURIComponent(s.name));
    }
  }
  for (const g of live.groups) {
    if (!g.leader || g.trouble) say(g.leader ? "warn" : "bad", "group " + g.service + g.name, t("problem.group", { group: g.service + "/" + g.name, trouble: g.trouble || t("group.noLeader") }), "#/state");
  }
  for (const q of live.queues) {
    const name = q.topic + " → " + q.group;
    if (q.slowed?.length) say("warn", "slowed " + name, t("problem.slowed", { queue: name, who: q.slowed.join(", ") }), "#/queues");
    if (q.oldest > 30e9 && q.lag > 0) say("warn", "old " + name, t("problem.old", { queue: name, age: duration(q.oldest), lag: q.lag }), "#/queues");
    if (q.dead > 0) say("warn", "dead " + name, tn("problem.dead", q.dead, { queue: name }), "#/queues/" + encodeURIComponent(q.topic) + "/" + encodeURIComponent(q.group));
  }
  for (const m of live.missing ?? []) say("info", m, m, "#/");
  const order = { bad: 0, warn: 1, info: 2 };
  return found.sort((a, b) => order[a.level] - order[b.level]); // stable
};

// verdict is the system in a word: "off", "bad", "warn", "busy" (not all started yet), "good".
export const verdict = () => {
  if (store.link !== "on") return "off";
  if (store.problems.some((p) => p.level === "bad")) return "bad";
  if (store.problems.some((p) => p.level === "warn")) return "warn";
  if (store.live?.info.state !== "ready") return "busy";
  return "good";
};

// now is the server's time, by which ages are told: the two clocks need not agree.
export const now = () => Date.parse(store.live?.at) || Date.now();
export const ago = (time) => age(time, now());
