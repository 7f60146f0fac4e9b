const PRINTED = 7;

/* Paper is not scrolled: what is shown is printed as tables of a few columns each, never apart within a number. */
function tablesForPaper() {
  const rows = visibleRows();
  const columns = visibleColumns();
  for (let at = 0; at < columns.length; at += PRINTED) {
    const table = element("table", { class: "printed" });
    fill(table, rows, columns.slice(at, at + PRINTED));
    byId("board").append(table);
  }
}

window.addEventListener("beforeprint", tablesForPaper);
window.addEventListener("afterprint", () => document.querySelectorAll("table.printed").forEach((table) => table.remove()));
startTheme();
startFilters();
startDialog();
startTable();
