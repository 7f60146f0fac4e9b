const PRINTED = 7;

/* Paper is not scrolled: what is shown is printed as tables of a few columns each, never apart within a number. */
function tablesForPaper() {
  const rows = visibleRows();
  const groups = Map.groupBy ? [...Map.groupBy(visibleColumns(), groupWords).values()] : [visibleColumns()];
  const parts = groups.flatMap((columns) => {
    const found = [];
    for (let at = 0; at < columns.length; at += PRINTED) found.push(columns.slice(at, at + PRINTED));
    return found;
  });
  const tables = parts.map((columns) => {
    const table = element("table", { class: "printed" });
    fill(table, rows, columns);
    return table;
  });
  byId("board").append(...tables);
}

window.addEventListener("beforeprint", tablesForPaper);
window.addEventListener("afterprint", () => document.querySelectorAll("table.printed").forEach((table) => table.remove()));
startTheme();
startFilters();
startDialog();
startTable();
