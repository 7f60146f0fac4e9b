const KINDS = { network: "", baseline: "baseline", mean: "over seeds" };

/* Ends of the bars of a column, from all rows but baselines, which would press the others together; so filters move no
   bar. Baselines further out stand at an end. */
function scaleOf(column) {
  const ends = data.cells.flatMap((cells, row) => {
    const cell = cells[column.index];
    const counts = cell?.status === "ok" && data.methods[row].kind !== "baseline";
    return counts ? [cell.low ?? cell.value, cell.high ?? cell.value] : [];
  });
  const low = Math.min(...ends);
  const high = Math.max(...ends);
  return (value) => (high > low ? Math.min(100, Math.max(0, (100 * (value - low)) / (high - low))) : 50);
}

function bar(cell, scale) {
  const made = element("span", { class: "bar", "aria-hidden": "true" });
  if (cell.low !== undefined) {
    const line = element("i");
    line.style.left = `${scale(cell.low)}%`;
    line.style.width = `${scale(cell.high) - scale(cell.low)}%`;
    made.append(line);
  }
  const dot = element("b");
  dot.style.left = `${scale(cell.value)}%`;
  made.append(dot);
  return made;
}

function marks(cell) {
  const found = [];
  const say = (sign, words, kind = "mark") => {
    found.push(element("span", { class: kind, "aria-hidden": "true" }, ` ${sign}`));
    found.push(element("span", { class: "unseen" }, `, ${words}, `));
  };
  if (cell.rank === 1) say("*", "best or tied", "rank");
  if (cell.flags) say("!", plural(cell.flags.length, "flag"));
  if (cell.contests) say("†", "contested");
  return found;
}

function entry(row, column, scale) {
  const cell = cellOf(row, column.index);
  if (!cell) return element("td", { class: "none" }, element("span", { class: "unseen" }, "none"));
  const content = [element("span", { class: "mean" }, cell.status === "ok" ? cell.text : cell.status), ...marks(cell)];
  if (cell.status === "ok") {
    const missing = cell.undefined ? ` (${cell.undefined} undefined)` : "";
    content.push(element("span", { class: "interval" }, `${cell.interval ?? ""}${missing}`), bar(cell, scale));
  }
  const attributes = { type: "button", "data-row": row, "data-column": column.index, tabindex: "-1", "aria-haspopup": "dialog" };
  return element("td", { class: cell.rank === 1 ? "best" : null }, element("button", attributes, ...content));
}

function methodCell(row) {
  const method = data.methods[row];
  const kind = KINDS[method.kind];
  const flagged = method.networks.some((network) => network.flags.length);
  const content = [method.name, flagged ? element("span", { class: "mark" }, " !", element("span", { class: "unseen" }, " flagged")) : null];
  const under = kind ? element("span", { class: "kind" }, kind) : null;
  const attributes = { type: "button", "data-row": row, "data-column": -1, tabindex: "-1", "aria-haspopup": "dialog" };
  return element("th", { scope: "row", class: "method" }, element("button", attributes, ...content, under));
}

function sortCell(index, words, attributes) {
  const here = sorting.column === index && (index >= 0 || sorting.worstFirst);
  const higher = index >= 0 && data.columns[index].higher;
  const ascending = index < 0 ? !sorting.worstFirst : higher === sorting.worstFirst;
  const sign = element("span", { class: "sorted", "aria-hidden": "true" }, here ? (ascending ? " ▲" : " ▼") : "");
  const sort = here ? (ascending ? "ascending" : "descending") : "none";
  const button = element("button", { type: "button", "data-sort": index }, words, sign);
  return element("th", { ...attributes, scope: "col", "aria-sort": sort }, button);
}

function head(columns) {
  const groups = element("tr", {}, sortCell(-1, "method", { rowspan: 2, class: "method" }));
  const metrics = element("tr");
  let last = null;
  for (const column of columns) {
    const words = groupWords(column);
    if (last?.words !== words) {
      last = { words, cell: element("th", { scope: "colgroup", class: "group", colspan: 0 }, element("span", {}, words)) };
      groups.append(last.cell);
    }
    last.cell.colSpan = Number(last.cell.getAttribute("colspan")) + 1;
    metrics.append(sortCell(column.index, `${column.metric} ${column.higher ? "↑" : "↓"}`, {}));
  }
  return element("thead", {}, groups, metrics);
}

function fill(table, rows, columns) {
  const scales = columns.map(scaleOf);
  const lines = rows.map((row) => element("tr", {}, methodCell(row), ...columns.map((column, at) => entry(row, column, scales[at]))));
  table.replaceChildren(head(columns), element("tbody", {}, ...lines));
}

function draw() {
  const rows = visibleRows();
  const columns = visibleColumns();
  fill(byId("table"), rows, columns);
  tellCounts(rows, columns);
  byId("table").querySelector("tbody button")?.setAttribute("tabindex", "0");
}

/* Of the cells one is in the tab order; arrow keys, Home and End move it. */
function focusCell(button) {
  byId("table").querySelector('tbody button[tabindex="0"]')?.setAttribute("tabindex", "-1");
  button.setAttribute("tabindex", "0");
  button.focus();
}

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function moveFocus(event) {
  const cell = event.target.closest("tbody td, tbody th");
  if (!cell || event.ctrlKey || event.altKey || event.metaKey) return;
  const line = cell.parentElement;
  let next = null;
  if (event.key in MOVES) {
    const [down, right] = MOVES[event.key];
    next = line.parentElement.rows[line.rowIndex - 2 + down]?.cells[cell.cellIndex + right];
    while (next && !next.querySelector("button")) {
      next = line.parentElement.rows[next.parentElement.rowIndex - 2 + down]?.cells[next.cellIndex + right];
    }
  } else if (event.key === "Home" || event.key === "End") {
    next = [...line.cells].filter((item) => item.querySelector("button")).at(event.key === "Home" ? 0 : -1);
  } else return;
  event.preventDefault();
  const button = next?.querySelector("button");
  if (button) focusCell(button);
}

function sortBy(index) {
  const again = sorting.column === index;
  Object.assign(sorting, { column: index, worstFirst: again ? !sorting.worstFirst : index < 0 });
  draw();
  byId("table").querySelector(`[data-sort="${index}"]`).focus();
}

function startTable() {
  const table = byId("table");
  table.addEventListener("keydown", moveFocus);
  table.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.sort !== undefined) sortBy(Number(button.dataset.sort));
    else openCell(button);
  });
  byId("board").hidden = false;
  byId("keys").hidden = false;
  draw();
}
