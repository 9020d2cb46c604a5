// The page's words, in the language that was chosen, or else the browser's.
import en from "./en.js";
import zh from "./zh.js";

const tables = { en, zh };
const key = "holdfast.lang";

const stored = () => {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage may be forbidden
  }
};

const first = () => {
  const chosen = stored();
  if (tables[chosen]) return chosen;
  for (const l of navigator.languages ?? [navigator.language ?? "en"]) {
    const short = l.slice(0, 2).toLowerCase();
    if (tables[short]) return short;
  }
  return "en";
};

let now = first();

export const lang = () => now;
export const setLang = (l) => {
  now = tables[l] ? l : "en";
  document.documentElement.lang = now === "zh" ? "zh-CN" : "en";
  try {
    localStorage.setItem(key, now);
  } catch {
    // then it is for this page only
  }
};

// t is the phrase of that name with {names} filled in. A phrase that is missing shows its name, which tests look for.
export const t = (name, values) => {
  const phrase = tables[now][name] ?? en[name] ?? name;
  return values ? phrase.replace(/\{(\w+)\}/g, (all, k) => (k in values ? String(values[k]) : all)) : phrase;
};

// tn is t for a number of things: of name.one or name.other, with {n}.
export const tn = (name, n, values) => t(name + (n === 1 ? ".one" : ".other"), { n, ...values });

// known is t for words of the API, which may have ones that the page does not know: then the word itself.
export const known = (prefix, word) => tables[now][prefix + "." + word] ?? word;
