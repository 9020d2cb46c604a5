// What a trace's spans mean. Pure: the spans of the API in, rows of a waterfall out.

const of = (span, name) => span.attributes?.["holdfast." + name];

export const isCall = (span) => of(span, "call") === true;
export const isAttempt = (span) => of(span, "attempt") !== undefined;
export const failedSpan = (span) => Boolean(span.code || span.error);

// startOf is a time in ns since the epoch of that base (ms): a Date keeps only ms, and traces are finer.
export const startOf = (time, base) => {
  const ms = Date.parse(time);
  const fraction = /\.(\d+)/.exec(time)?.[1] ?? "";
  const below = fraction.length > 3 ? Number((fraction + "000000").slice(3, 9)) : 0; // ns below the millisecond
  return (ms - base) * 1e6 + below;
};

// attemptsOf are the attempts of a call, in the order in which they were made, each with what served it if that is known.
export const attemptsOf = (call, tree) =>
  tree.filter((span) => span.parent === call.id && isAttempt(span))
    .map((span) => ({ span, number: of(span, "attempt"), hedge: of(span, "attempt.hedge") === true, served: tree.find((x) => x.parent === span.id && x.kind === "server") }))
    .sort((a, b) => a.number - b.number);

// fold makes rows of a trace: {kind, span, depth, attempts, attempt}. A call that needed one attempt is one row, with its attempt
// and what served it in it; one that needed several is followed by a row for each. With all, each span is a row of its own.
export const fold = (tree, all) => {
  const below = new Map();
  const ids = new Set(tree.map((x) => x.id));
  for (const span of tree) {
    const parent = ids.has(span.parent) ? span.parent : "";
    if (!below.has(parent)) below.set(parent, []);
    below.get(parent).push(span);
  }
  const rows = [];
  const seen = new Set();
  const children = (id) => below.get(id) ?? [];
  const walk = (span, depth) => {
    if (seen.has(span.id)) return;
    seen.add(span.id);
    if (all || !isCall(span)) {
      rows.push({ kind: "span", span, depth, attempts: [] });
      for (const c of children(span.id)) walk(c, depth + 1);
      return;
    }
    const attempts = attemptsOf(span, tree);
    rows.push({ kind: "call", span, depth, attempts });
    for (const a of attempts) {
      seen.add(a.span.id);
      if (attempts.length > 1) rows.push({ kind: "attempt", span: a.span, depth: depth + 1, attempts: [], attempt: a });
      if (a.served) seen.add(a.served.id);
      for (const c of children(a.span.id)) if (c !== a.served) walk(c, depth + 1);
      if (a.served) for (const c of children(a.served.id)) walk(c, depth + (attempts.length > 1 ? 2 : 1));
    }
    for (const c of children(span.id)) walk(c, depth + 1);
  };
  for (const span of children("")) walk(span, 0);
  return rows;
};

// extent is when a trace begins, in ms since the epoch, and how long it is with all that followed, in ns.
export const extent = (tree) => {
  const base = Math.min(...tree.map((x) => Date.parse(x.start)));
  const begin = Math.min(...tree.map((x) => startOf(x.start, base)));
  const end = Math.max(...tree.map((x) => startOf(x.start, base) + x.duration));
  return { base, begin, length: Math.max(1, end - begin) };
};

// ticks are round times for an axis of that length, at most most of them, none so near its end that its figure would not fit.
export const ticks = (length, most = 6) => {
  const raw = length / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => length / x <= most) ?? 10 * power;
  const out = [];
  for (let at = 0; at <= length * 0.93; at += step) out.push(at);
  return out;
};
