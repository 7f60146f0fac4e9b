const WIDTH = 400;
const HEIGHT = 110;
const FOOT = 18;

/* Bars of counts over the range of the column, with a dashed line at the mean. */
function histogram(cell, column) {
  const counts = cell.histogram;
  const [low, high] = column.range;
  const most = Math.max(...counts);
  const step = WIDTH / counts.length;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const words = `Histogram of ${plural(total, "image")} in ${counts.length} bins from ${low} to ${high}: ${counts.join(", ")}`;
  const made = drawing("svg", { class: "histogram", viewBox: `0 0 ${WIDTH} ${HEIGHT + FOOT}`, role: "img", "aria-label": words });
  counts.forEach((count, index) => {
    const height = (count / most) * (HEIGHT - 12);
    const place = { x: index * step + 0.5, y: HEIGHT - height, width: step - 1, height };
    made.append(drawing("rect", place, drawing("title", {}, plural(count, "image"))));
  });
  made.append(drawing("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }));
  const span = Number(high) - Number(low);
  if (span > 0 && cell.value !== null) {
    const at = Math.min(WIDTH - 1, Math.max(1, ((cell.value - Number(low)) / span) * WIDTH));
    made.append(drawing("line", { class: "mean-line", x1: at, x2: at, y1: 0, y2: HEIGHT }));
  }
  made.append(drawing("text", { x: 0, y: HEIGHT + 14 }, low));
  made.append(drawing("text", { x: WIDTH / 2, y: HEIGHT + 14, "text-anchor": "middle" }, `at most ${plural(most, "image")} in a bin; dashed: mean`));
  made.append(drawing("text", { x: WIDTH, y: HEIGHT + 14, "text-anchor": "end" }, high));
  return made;
}
