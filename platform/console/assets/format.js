// Numbers and times as people read them. Durations of the API are in nanoseconds.
const pad = (n, width = 2) => String(n).padStart(width, "0");

// digits gives at most three that count: 0.42, 4.2, 42, 420.
const digits = (x) => (x >= 99.5 ? String(Math.round(x)) : x >= 9.95 ? String(Math.round(x)) : x >= 0.995 ? String(Number(x.toFixed(1))) : String(Number(x.toFixed(2))));

export const none = "–";

// duration: 0.42 ms, 12 ms, 1.2 s, 2 min 5 s, 3 h 12 min, 4 d 3 h.
export const duration = (ns) => {
  if (!(ns > 0)) return none;
  const ms = ns / 1e6;
  if (ms < 0.01) return digits(ns / 1e3) + " µs";
  if (ms < 999.5) return digits(ms) + " ms";
  const sec = ms / 1000;
  if (sec < 59.95) return digits(sec) + " s";
  const whole = Math.round(sec);
  if (whole < 3600) return Math.floor(whole / 60) + " min" + (whole % 60 ? " " + (whole % 60) + " s" : "");
  if (whole < 86400) return Math.floor(whole / 3600) + " h" + (Math.floor((whole % 3600) / 60) ? " " + Math.floor((whole % 3600) / 60) + " min" : "");
  return Math.floor(whole / 86400) + " d" + (Math.floor((whole % 86400) / 3600) ? " " + Math.floor((whole % 86400) / 3600) + " h" : "");
};

// age is how long ago a time was, in one unit, or two from hours on.
export const age = (time, now = Date.now()) => {
  const at = Date.parse(time);
  if (!(at > 0)) return none;
  const sec = Math.max(0, Math.floor((now - at) / 1000));
  if (sec < 60) return sec + " s";
  if (sec < 3600) return Math.floor(sec / 60) + " min";
  return duration(Math.floor(sec / 60) * 60e9);
};

export const count = (n) => {
  if (!Number.isFinite(n)) return none;
  if (n >= 1e6) return digits(n / 1e6) + " M";
  if (n >= 1e4) return digits(n / 1e3) + " k";
  return exact(n);
};

// exact is count with every digit.
export const exact = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, "\u202f");

export const rate = (perSecond) => {
  if (!(perSecond > 0)) return "0/s";
  if (perSecond < 0.005) return "<0.01/s";
  return (perSecond >= 999.5 ? count(Math.round(perSecond)) : digits(perSecond)) + "/s";
};

// share of part in whole, as a percentage; a little is never nothing, and not all is never all.
export const share = (part, whole) => {
  if (!(whole > 0)) return none;
  const p = (part / whole) * 100;
  if (p <= 0) return "0 %";
  if (p < 0.01) return "<0.01 %";
  if (p >= 100) return "100 %";
  return (p > 99 ? Math.floor(p * 10) / 10 : digits(p)) + " %";
};

export const bytes = (n) => {
  if (!(n > 0)) return none;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1023.5 || unit === "GiB") return (unit === "B" ? n : digits(n)) + " " + unit;
    n /= 1024;
  }
};

// clock is the time of day here: 15:04:05, with fraction 15:04:05.123.
export const clock = (time, fraction) => {
  const d = new Date(time);
  if (!(d.getTime() > 0)) return none;
  return pad(d.getHours()) + ":" + pad(d.getMinutes()) + ":" + pad(d.getSeconds()) + (fraction ? "." + pad(d.getMilliseconds(), 3) : "");
};

// day is the day and the time of day here: 2006-01-02 15:04:05.
export const day = (time) => {
  const d = new Date(time);
  return d.getTime() > 0 ? d.getFullYear() + "-" + pad(d.getMonth() + 1) + "-" + pad(d.getDate()) + " " + clock(time) : none;
};

// since is the time between two points of a trace, with a sign: +12 ms.
export const since = (ns) => (ns > 0 ? "+" + duration(ns) : "0");

// value is an attribute as text.
export const value = (v) => (typeof v === "number" && !Number.isInteger(v) ? digits(v) : Array.isArray(v) ? v.join(", ") : v !== null && typeof v === "object" ? JSON.stringify(v) : String(v));

// indented is JSON in lines, and anything else as it is. Nothing but the space between its parts is changed: JSON.parse would round
// numbers and keep one of several members of a name.
export const indented = (json) => {
  try {
    JSON.parse(json);
  } catch {
    return json;
  }
  let depth = 0;
  const line = () => "\n" + "  ".repeat(Math.min(depth, 32));
  return json.replace(/"[^"\\]*(?:\\.[^"\\]*)*"|[[{]\s*[\]}]|[[\]{},:]|\s+/g, (part) => {
    switch (part[0]) {
      case '"': return part;
      case "[": case "{":
        if (part.length > 1) return part[0] + part.at(-1);
        depth++;
        return part + line();
      case "]": case "}":
        depth--;
        return line() + part;
      case ",": return part + line();
      case ":": return ": ";
    }
    return "";
  });
};
