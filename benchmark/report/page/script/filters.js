const TITLES = { explainer: "Explainer", attack: "Attack", metric: "Metric", threat: "Eps", table: "Table" };

function chooser(title, options, chosen, change) {
  const select = element("select", { onchange: () => change(select.value) });
  for (const [value, words] of options) select.append(element("option", { value, selected: value === chosen }, words));
  return element("label", {}, title, select);
}

/* The values of an axis that columns of scores have; tables that differ in nothing but eps have a filter for that. */
function valuesOf(axis) {
  const scored = data.columns.filter((column) => column.kind === "score");
  const distinct = (value) => [...new Set(scored.map(value))].filter(Boolean);
  const threats = distinct(VALUES.threat).length;
  if (axis === "table" && distinct((column) => `${column.table}, ${column.threat}`).length === threats) return [];
  return distinct(VALUES[axis]);
}

function startFilters() {
  const form = byId("filters");
  const search = element("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  search.addEventListener("input", () => change("method", search.value));
  form.append(element("label", {}, "Method", search));
  for (const [axis, title] of Object.entries(TITLES)) {
    const values = valuesOf(axis);
    const options = [["", "all"], ...values.map((value) => [value, value])];
    if (values.length > 1) form.append(chooser(title, options, "", (value) => change(axis, value)));
  }
  const subsets = Object.entries(data.subsets);
  if (subsets.length > 1) form.append(chooser("Images", subsets, "all", (value) => change("subset", value)));
  if (data.columns.some((column) => column.kind === "cost")) {
    const costs = element("input", { type: "checkbox", onchange: () => change("costs", costs.checked) });
    form.append(element("label", { class: "check" }, costs, "Passes and seconds"));
  }
  form.append(element("button", { type: "reset" }, "Show all"));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    Object.assign(shown, PLAIN);
    Object.assign(sorting, { column: -1, worstFirst: false });
    draw();
  });
  const box = byId("filter-box");
  // On a phone they would fill the first screen.
  box.open = window.matchMedia("(min-width: 40rem)").matches;
  box.hidden = false;
}

function change(axis, value) {
  shown[axis] = value;
  draw();
}

function tellCounts(rows, columns) {
  const among = data.columns.filter((column) => (!column.subset || column.subset === shown.subset) && (shown.costs || column.kind !== "cost"));
  const sorted = sorting.column < 0 ? "" : `, ${sorting.worstFirst ? "worst" : "best"} first by ${columnWords(data.columns[sorting.column])}`;
  byId("status").textContent =
    `${rows.length} of ${plural(data.methods.length, "row")}, ${columns.length} of ${plural(among.length, "column")}${sorted}.`;
}
