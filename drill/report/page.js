"use strict";
// The page is whole without this: it filters the failed calls, and reads out the column of the timeline that is pointed at.
for (const form of document.querySelectorAll("form.filter")) {
  const rows = [...form.parentElement.querySelectorAll("tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const out = form.querySelector("output");
  const filter = () => {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const call = form.elements.call.value;
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = (call !== "" && row.dataset.call !== call) || !words.every((w) => texts[i].includes(w));
      if (!row.hidden) shown++;
    });
    out.textContent = shown + " of " + rows.length;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (e) => e.preventDefault());
  form.hidden = false;
  filter();
}
for (const chart of document.querySelectorAll(".timeline")) {
  const plots = chart.querySelector(".plots");
  const rows = [...chart.querySelectorAll(".numbers tbody tr")].map((row) => [...row.cells].map((c) => c.textContent));
  const crosses = [...chart.querySelectorAll(".cross")];
  const readout = chart.querySelector(".readout");
  if (rows.length === 0) continue;
  let at = -1;
  const idle = "Point at the timeline, or use the arrow keys on it, to read its figures.";
  const show = (i) => {
    at = Math.max(0, Math.min(rows.length - 1, i));
    const [from, to, calls, failed, refused, p50, p99, broken] = rows[at];
    readout.textContent = from + " to " + to + ": " + calls + " calls, " + failed + " failed" +
      (refused === "0" ? "" : ", " + refused + " refused") + ", half within " + p50 + ", 99 % within " + p99 + (broken ? " — " + broken : "");
    const x = ((at + 0.5) / rows.length) * 100 + "%";
    for (const c of crosses) {
      c.setAttribute("x1", x);
      c.setAttribute("x2", x);
    }
    plots.classList.add("pointing");
  };
  const hide = () => {
    plots.classList.remove("pointing");
    readout.textContent = idle;
  };
  plots.addEventListener("pointermove", (e) => {
    const box = plots.querySelector(".plot").getBoundingClientRect();
    if (e.clientX >= box.left && e.clientX < box.right) show(Math.floor(((e.clientX - box.left) / box.width) * rows.length));
  });
  plots.addEventListener("pointerleave", hide);
  plots.addEventListener("blur", hide);
  plots.addEventListener("keydown", (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!step) return;
    e.preventDefault();
    show(at + step * (e.shiftKey ? 10 : 1));
  });
  plots.tabIndex = 0;
  plots.setAttribute("role", "group");
  plots.setAttribute("aria-label", "Timeline; the arrow keys move along it");
  readout.hidden = false;
  hide();
}
