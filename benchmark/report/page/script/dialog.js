function flagPairs(positions) {
  return (positions ?? []).map((position) => data.flags[position]);
}

function section(title, ...content) {
  return [element("h3", {}, title), ...content];
}

const CODES = ["command", "paper and loss"];

function factList(facts) {
  return descriptions(facts.map(([term, text]) => [term, CODES.includes(term) ? element("code", {}, text) : text]));
}

/* What all tables say of a row once, and under the head of each what it alone says. */
function methodContent(method) {
  if (method.kind === "mean") {
    return [element("p", {}, "The mean over networks that differ in their training seed. Their own rows have their cards.")];
  }
  const same = ([term, text]) => method.networks.every((network) => network.facts.some((fact) => fact[0] === term && fact[1] === text));
  const shared = method.networks[0].facts.filter(same);
  return [factList(shared), ...method.networks.flatMap((network) => {
    const own = network.facts.filter((fact) => !same(fact));
    const parts = own.length ? [factList(own)] : [];
    if (network.flags.length) parts.push(element("h4", {}, "Flags"), descriptions(flagPairs(network.flags)));
    return parts.length && network.table ? section(network.table, ...parts) : parts;
  })];
}

/* Who else has the rank, in words. */
function rankWords(row, index, cell) {
  if (cell.rank === null || cell.rank === undefined) return "not ranked";
  const tied = data.methods
    .filter((_, other) => other !== row && cellOf(other, index)?.rank === cell.rank)
    .map((method) => method.name);
  return tied.length ? `${cell.rank}, shared with ${tied.join(", ")}` : String(cell.rank);
}

function numberPairs(row, index, cell) {
  const column = data.columns[index];
  if (cell.status !== "ok") return [["result", cell.error ? `failed: ${cell.error}` : cell.status]];
  const pairs = [[column.kind === "cost" || column.kind === "training" ? "cost" : "mean", `${cell.text} ${cell.interval ?? ""}`]];
  if (cell.seeds) pairs.push(["training seeds", cell.seeds]);
  if (cell.images !== undefined) pairs.push(["images", cell.undefined ? `${cell.images}, ${cell.undefined} of them undefined` : cell.images]);
  if (cell.feasible !== undefined && cell.feasible !== null) pairs.push(["feasible attacks", `${cell.feasible} of ${cell.images}`]);
  if (column.kind === "score") pairs.push(["rank", rankWords(row, index, cell)]);
  if (cell.spread) {
    const [worst, tail, median, best] = cell.spread;
    pairs.push(["worst image", worst], ["5 % are worse than", tail], ["median", median], ["5 % are better than", best]);
  }
  return pairs.filter(([, text]) => text !== "");
}

function evidencePairs(cell) {
  const pairs = [];
  if (cell.passes) {
    const [forward, backward, second] = cell.passes;
    if (forward + backward + second) pairs.push(["passes of the attack", `${forward} forward, ${backward} backward, ${second} double backward`]);
    pairs.push(["seconds", `${cell.seconds}, of the attack and all metrics of the cell`]);
  }
  for (const [name, share] of cell.members ?? []) pairs.push([`worst: ${name}`, `${share} of the images`]);
  pairs.push(["fingerprint", element("code", {}, cell.row)], ["computed", cell.computed], ["by", data.provenances[cell.by]]);
  return pairs.filter(([, text]) => text !== "");
}

/* The picture of an image behind a number; null where the page has none. */
function pictureOf(cell, image, words) {
  const index = pictures.of[cell.row]?.[image];
  if (index === undefined) return null;
  const alt = `Image ${image}: clean image, attacked image, map of the clean one, map of the attacked one, of ${words}`;
  return element("img", { class: "maps", src: pictures.uris[index], alt });
}

const PICTURES = "Pictures, from left to right: the image, the attacked image, the map of each. Both maps have one colour scale. ";

function worstImages(cell, column, name) {
  const words = `${name}, ${columnWords(column)}`;
  const shown = cell.worst.map(([image]) => pictureOf(cell, image, words));
  const some = shown.some(Boolean);
  const rows = cell.worst.map(([image, text], at) => {
    const picture = some ? element("td", { class: "pictured" }, shown[at] ?? "none") : null;
    return element("tr", {}, element("th", { scope: "row" }, String(image)), element("td", {}, text), picture);
  });
  const heads = ["image", "score"].map((text) => element("th", { scope: "col" }, text));
  if (some) heads.push(element("th", { scope: "col", class: "pictured" }, "picture"));
  const about = `${some ? PICTURES : ""}Positions in the list of ${column.list}, from 0.`;
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
  return [element("p", {}, about), table];
}

function numberContent(row, index) {
  const column = data.columns[index];
  const cell = cellOf(row, index);
  const parts = [element("p", {}, columnWords(column)), descriptions(numberPairs(row, index, cell))];
  if (cell.flags) parts.push(...section("Flags", descriptions(flagPairs(cell.flags))));
  if (cell.contests) parts.push(...section("Contested by", ...cell.contests.map((text) => element("p", {}, text))));
  if (cell.histogram) {
    parts.push(...section("Scores of the images", histogram(cell, column)));
    parts.push(...section("Worst images", ...worstImages(cell, column, data.methods[row].name)));
  }
  parts.push(...section("Settings", descriptions([["threat", column.threat], ...column.settings])));
  if (cell.row) parts.push(...section("Behind the number", descriptions(evidencePairs(cell))));
  return parts;
}

function openCell(button) {
  const [row, index] = [Number(button.dataset.row), Number(button.dataset.column)];
  const method = data.methods[row];
  focusCell(button);
  const dialog = byId("dialog");
  const close = element("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const top = element("div", { class: "top" }, element("h2", { id: "dialog-title" }, method.name), close);
  const content = index < 0 ? methodContent(method) : numberContent(row, index);
  dialog.replaceChildren(top, ...content);
  dialog.showModal();
  dialog.scrollTop = 0;
}

/* A click beside the dialog closes it; focus goes back to the cell. */
function startDialog() {
  const dialog = byId("dialog");
  dialog.addEventListener("click", (event) => {
    const box = dialog.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (event.target === dialog && !inside && event.detail) dialog.close();
  });
}
