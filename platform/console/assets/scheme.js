// Dark or light: as the system says, unless it was chosen here.
const key = "holdfast.scheme";
const order = ["auto", "light", "dark"];
let now = "auto";
try {
  now = order.includes(localStorage.getItem(key)) ? localStorage.getItem(key) : "auto";
} catch {
  // storage may be forbidden
}

export const scheme = () => now;
export const applyScheme = () => {
  if (now === "auto") delete document.documentElement.dataset.scheme;
  else document.documentElement.dataset.scheme = now;
};
export const nextScheme = () => {
  now = order[(order.indexOf(now) + 1) % order.length];
  applyScheme();
  try {
    localStorage.setItem(key, now);
  } catch {
    // then it is for this page only
  }
};
