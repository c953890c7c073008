
"use strict";
// a click on a head sorts: ascending, descending, and back to the order of the report
const next = { none: "ascending", ascending: "descending", descending: "none" };

for (const table of document.querySelectorAll("table")) {
  const bodies = [...table.tBodies];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    head.querySelector("button").addEventListener("click", () => {
      const order = next[head.getAttribute("aria-sort")];
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", order);
      table.append(...(order === "none" ? bodies : sorted(bodies, place, order)));
    });
  });
}

// by number where the column has any, else by text; what has no number stands last either way
function sorted(bodies, place, order) {
  const sign = order === "ascending" ? 1 : -1;
  const keyed = bodies.map((body) => {
    const { dataset, textContent } = body.rows[0].cells[place];
    return { body, number: Number(dataset.value ?? NaN), text: textContent };
  });
  const numeric = keyed.some(({ number }) => !Number.isNaN(number));
  const compare = (a, b) => {
    if (!numeric) return sign * a.text.localeCompare(b.text, "en", { numeric: true });
    return Number.isNaN(a.number) - Number.isNaN(b.number) || sign * (a.number - b.number) || 0;
  };
  return keyed.sort(compare).map(({ body }) => body);
}

// on a phone the answer comes first, and the contents unfold
document.querySelector("nav details").open = matchMedia("(min-width: 70rem)").matches;

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
