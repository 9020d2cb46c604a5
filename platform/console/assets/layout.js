// Where services stand in the graph. Pure: the same names and edges give the same places, whatever the traffic.

// layers says how far from the way in each service is: the longest path of calls that leads to it. Edges that close a circle
// are left out of it, those of messages before those of calls.
export const layers = (names, edges) => {
  const known = new Set(names);
  const out = new Map(names.map((n) => [n, []]));
  const into = new Map(names.map((n) => [n, 0]));
  // In the order of the names, whatever the order of the edges: so the same edge of a circle is left out each time.
  const order = new Map(names.map((n, i) => [n, i]));
  const sorted = edges.filter((e) => known.has(e.from) && known.has(e.to)).sort((a, b) => order.get(a.from) - order.get(b.from) || order.get(a.to) - order.get(b.to));
  for (const kind of ["call", "message"]) {
    for (const e of sorted) {
      if ((e.kind ?? "call") !== kind || e.from === e.to) continue;
      if (out.get(e.from).includes(e.to)) continue;
      if (reaches(out, e.to, e.from)) continue;
      out.get(e.from).push(e.to);
      into.set(e.to, into.get(e.to) + 1);
    }
  }
  const layer = new Map(names.map((n) => [n, 0]));
  const waiting = new Map(into);
  const ready = names.filter((n) => !into.get(n));
  while (ready.length) {
    const n = ready.shift();
    for (const to of out.get(n)) {
      layer.set(to, Math.max(layer.get(to), layer.get(n) + 1));
      waiting.set(to, waiting.get(to) - 1);
      if (!waiting.get(to)) ready.push(to);
    }
  }
  return { layer, out, alone: new Set(names.filter((n) => !into.get(n) && !out.get(n).length)) };
};

const reaches = (out, from, to) => {
  const todo = [from];
  const seen = new Set(todo);
  while (todo.length) {
    const n = todo.pop();
    if (n === to) return true;
    for (const next of out.get(n)) {
      if (!seen.has(next)) {
        seen.add(next);
        todo.push(next);
      }
    }
  }
  return false;
};

// ordered puts the services of each layer into an order in which few edges cross: each near the middle of those it is
// connected with, in a few sweeps from the order of the names.
export const ordered = (names, edges) => {
  const { layer, out, alone } = layers(names, edges);
  const rows = [];
  for (const n of names) if (!alone.has(n)) (rows[layer.get(n)] ??= []).push(n);
  const back = new Map(names.map((n) => [n, []]));
  for (const [from, tos] of out) for (const to of tos) back.get(to).push(from);
  const place = new Map();
  const note = () => rows.forEach((row) => row.forEach((n, i) => place.set(n, (i + 0.5) / row.length)));
  note();
  for (let sweep = 0; sweep < 6; sweep++) {
    const near = sweep % 2 ? out : back;
    for (const row of rows) {
      const middle = new Map(row.map((n) => {
        const of = near.get(n);
        return [n, of.length ? of.reduce((sum, m) => sum + place.get(m), 0) / of.length : place.get(n)];
      }));
      const was = new Map(row.map((n, i) => [n, i]));
      row.sort((a, b) => middle.get(a) - middle.get(b) || was.get(a) - was.get(b));
      row.forEach((n, i) => place.set(n, (i + 0.5) / row.length));
    }
  }
  return { rows: rows.filter(Boolean), alone: names.filter((n) => alone.has(n)) };
};

// arrange gives each service a place in a picture of that width: columns from left to right, or, where that is too narrow,
// rows from top to bottom. Services that call nobody and are called by nobody stand in a row of their own at the bottom.
export const arrange = (names, edges, width, high = 78) => {
  const { rows, alone } = ordered(names, edges);
  // A layer with many services takes several columns.
  const most = Math.max(5, Math.ceil(names.length / Math.max(1, Math.floor(width / 210))));
  const columns = [];
  for (const row of rows) {
    const parts = Math.ceil(row.length / most);
    const each = Math.ceil(row.length / parts);
    for (let i = 0; i < row.length; i += each) columns.push(row.slice(i, i + each));
  }
  const n = Math.max(1, columns.length);
  // As wide as the longest name, within bounds.
  const least = Math.max(128, Math.min(200, 46 + 7.9 * Math.max(0, ...names.map((name) => name.length))));
  const close = 26;
  const needed = n * least + (n - 1) * close;
  return width < 640 || needed * smallest > width ? below(rows, alone, width, high, least) : beside(columns, alone, Math.max(width, needed), high, least, close);
};

// smallest is by how much a picture may be made smaller to fit.
export const smallest = 0.82;

const below = (rows, alone, width, high, least) => {
  const places = new Map();
  const gap = width < 640 ? 12 : 28;
  const columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
  const wide = Math.min(210, (width - (columns - 1) * gap) / columns);
  let top = 0;
  for (const row of alone.length ? [...rows, alone] : rows) {
    // Where a row has to be broken, its parts are of nearly the same length.
    const each = Math.ceil(row.length / Math.ceil(row.length / columns));
    for (let i = 0; i < row.length; i += each) {
      const part = row.slice(i, i + each);
      const line = part.length * wide + (part.length - 1) * gap;
      part.forEach((name, k) => places.set(name, { x: (width - line) / 2 + k * (wide + gap), y: top, w: wide, h: high }));
      top += high + 14;
    }
    top += 28;
  }
  return { places, width, height: Math.max(high, top - 42), upright: true, room: false };
};

const beside = (columns, alone, width, high, least, close) => {
  const places = new Map();
  const n = Math.max(1, columns.length);
  const wide = Math.max(least, Math.min(196, (width - (n - 1) * 100) / n));
  const gap = n > 1 ? Math.max(close, Math.min(150, (width - n * wide) / (n - 1))) : 0;
  const left = (width - n * wide - (n - 1) * gap) / 2;
  const step = high + 16;
  let height = Math.max(1, ...columns.map((c) => c.length)) * step - 16;
  columns.forEach((column, c) => {
    const spare = (height - (column.length * step - 16)) / (column.length + 1);
    column.forEach((name, r) => places.set(name, { x: left + c * (wide + gap), y: spare * (r + 1) + r * step, w: wide, h: high }));
  });
  if (alone.length) {
    const across = Math.max(1, Math.floor((width + 16) / (wide + 16)));
    const line = Math.min(alone.length, across) * (wide + 16) - 16;
    const from = left + line <= width ? left : (width - line) / 2;
    alone.forEach((name, i) => places.set(name, { x: from + (i % across) * (wide + 16), y: height + 40 + Math.floor(i / across) * step, w: wide, h: high }));
    height += 40 + Math.ceil(alone.length / across) * step - 16;
  }
  return { places, width, height, upright: false, room: gap >= 90 };
};

// ways draws each edge from the side of one service to that of another: {d, x, y} by index, x and y being where its label is,
// just before its end: there it is told from others, and lies on nothing.
// Edges at one side of a service leave in the order of where they go to, so that they do not cross at once.
export const ways = (edges, { places, height, upright }) => {
  const kinds = edges.map((e) => {
    const a = places.get(e.from);
    const b = places.get(e.to);
    if (!a || !b || e.from === e.to) return "none";
    if (upright) return b.y > a.y ? "on" : "round";
    return b.x > a.x + a.w / 2 ? "on" : "round";
  });
  const side = new Map();
  const at = (name, which, i, order) => {
    const key = name + "\n" + which;
    if (!side.has(key)) side.set(key, []);
    side.get(key).push({ i, order });
  };
  edges.forEach((e, i) => {
    if (kinds[i] === "none") return;
    const a = places.get(e.from);
    const b = places.get(e.to);
    const [oa, ob] = upright ? [a.x, b.x] : [a.y, b.y];
    at(e.from, kinds[i] === "on" ? "out" : "low", i, ob);
    at(e.to, kinds[i] === "on" ? "in" : "low", i, oa);
  });
  const shift = new Map();
  for (const [key, list] of side) {
    list.sort((p, q) => p.order - q.order || p.i - q.i);
    const room = Math.min(13, 60 / Math.max(1, list.length));
    list.forEach((p, k) => shift.set(key + "\n" + p.i, (k - (list.length - 1) / 2) * room));
  }
  const r = (v) => Math.round(v * 10) / 10;
  return edges.map((e, i) => {
    if (kinds[i] === "none") return undefined;
    const a = places.get(e.from);
    const b = places.get(e.to);
    const off = (name, which) => shift.get(name + "\n" + which + "\n" + i) ?? 0;
    if (kinds[i] === "on" && !upright) {
      const [x1, y1, x2, y2] = [a.x + a.w, a.y + a.h / 2 + off(e.from, "out"), b.x, b.y + b.h / 2 + off(e.to, "in")];
      const bend = Math.max(24, (x2 - x1) * 0.45);
      return { d: `M${r(x1)} ${r(y1)}C${r(x1 + bend)} ${r(y1)} ${r(x2 - bend)} ${r(y2)} ${r(x2)} ${r(y2)}`, x: x2 - 13, y: y2 - 5, anchor: "end", end: [x2, y2, 0] };
    }
    if (kinds[i] === "on") {
      const [x1, y1, x2, y2] = [a.x + a.w / 2 + off(e.from, "out"), a.y + a.h, b.x + b.w / 2 + off(e.to, "in"), b.y];
      const bend = Math.max(14, (y2 - y1) * 0.5);
      return { d: `M${r(x1)} ${r(y1)}C${r(x1)} ${r(y1 + bend)} ${r(x2)} ${r(y2 - bend)} ${r(x2)} ${r(y2)}`, x: x2 + 7, y: y2 - 9, anchor: "start", end: [x2, y2, 90] };
    }
    // Back, or to a neighbour in the same column: round below both.
    const [x1, y1, x2, y2] = [a.x + a.w / 2 + off(e.from, "low"), a.y + a.h, b.x + b.w / 2 + off(e.to, "low"), b.y + b.h];
    const low = Math.min(height + 30, Math.max(y1, y2) + 24 + Math.abs(x1 - x2) * 0.06);
    return { d: `M${r(x1)} ${r(y1)}C${r(x1)} ${r(low + 10)} ${r(x2)} ${r(low + 10)} ${r(x2)} ${r(y2)}`, x: (x1 + x2) / 2, y: Math.max(y1, y2) + (low - Math.max(y1, y2)) * 0.75, anchor: "middle", end: [x2, y2, -90] };
  });
};
