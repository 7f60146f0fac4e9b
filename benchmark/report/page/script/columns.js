const PLAIN = { method: "", explainer: "", attack: "", metric: "", subset: "all", threat: "", table: "", costs: false };
const shown = { ...PLAIN };
const NO_ATTACK = "(no attack)";
const NO_EXPLAINER = "(no explainer)";
const VALUES = {
  explainer: (column) => column.explainer || NO_EXPLAINER,
  attack: (column) => column.attack || NO_ATTACK,
  metric: (column) => column.metric,
  threat: (column) => column.threat,
  table: (column) => column.table,
};

/* Whether the filters keep a column; accuracy and training, the price of robustness, stay whatever explainer, attack or
   metric. */
function keepsColumn(column) {
  if (column.kind === "cost" && !shown.costs) return false;
  if (column.subset && column.subset !== shown.subset) return false;
  const whatever = ["explainer", "attack", "metric"];
  const free = { accuracy: whatever, training: whatever, cost: ["metric"], score: [] }[column.kind];
  return Object.entries(VALUES).every(
    ([axis, value]) => !shown[axis] || free.includes(axis) || value(column) === shown[axis],
  );
}

function visibleColumns() {
  return data.columns.map((column, index) => ({ ...column, index })).filter(keepsColumn);
}

function keepsMethod(method) {
  return method.name.toLowerCase().includes(shown.method.trim().toLowerCase());
}

const sorting = { column: -1, worstFirst: false };

function cellOf(row, column) {
  return data.cells[row][column];
}

/* Baselines and networks at chance lead no table, however good their numbers look. */
function competes(row) {
  return data.methods[row].networks.every((network) => network.competes);
}

/* Rows that the filters keep, by position, in the order asked for. Rows that do not compete come last either way, and
   before them those without a number. */
function visibleRows() {
  const rows = data.methods.map((_, index) => index).filter((index) => keepsMethod(data.methods[index]));
  const worst = sorting.worstFirst ? -1 : 1;
  const direction = sorting.column < 0 ? worst : (data.columns[sorting.column].higher ? -1 : 1) * worst;
  const value = (row) => (sorting.column < 0 ? row : (cellOf(row, sorting.column)?.value ?? null));
  return rows.sort((one, other) => {
    const [mine, theirs] = [value(one), value(other)];
    const last = competes(other) - competes(one) || (mine === null) - (theirs === null);
    return last || direction * (mine - theirs) || one - other;
  });
}

function groupWords(column) {
  return [column.table, column.group].filter(Boolean).join(": ");
}

function columnWords(column) {
  return `${column.metric}, ${groupWords(column)}`;
}
