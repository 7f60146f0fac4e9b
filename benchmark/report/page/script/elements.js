const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const pictures = JSON.parse(byId("pictures")?.textContent ?? '{"uris":[],"of":{}}');
const SVG = "http://www.w3.org/2000/svg";

/* An element with attributes and children; children that are strings become text and never markup. */
function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function drawing(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/* A term and its text for each pair, as a description list. */
function descriptions(pairs) {
  const items = pairs.map(([term, text]) => [
    element("dt", {}, term),
    element("dd", {}, text instanceof Node ? text : String(text)),
  ]);
  return element("dl", {}, ...items.flat());
}

function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
