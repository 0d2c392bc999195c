// Draws a histogram vector: counts ordered by cell (row by row), then channel, then bin.
import { html } from "./vendor/htm-preact.module.js";

const CHANNELS = { 1: ["grey"], 3: ["red", "green", "blue"] };
const WIDTH = 256;
const HEIGHT = 96;
const OUTLIERS = 0.01; // How many bins may be cut off, as a part of all.

/** The count that fills the height: the largest, unless a few bins (a plain background) would flatten all others. */
function ceiling(values) {
  const sorted = [...values].sort((a, b) => b - a);
  const usual = 1.2 * sorted[Math.ceil(values.length * OUTLIERS)];
  return usual > 0 && sorted[0] > 3 * usual ? usual : Math.max(sorted[0], 1e-9);
}

/** Steps of one series as an SVG path. Heights are square roots, so that small counts can be seen beside large ones. */
function area(counts, highest) {
  const step = WIDTH / counts.length;
  let path = `M0 ${HEIGHT}`;
  counts.forEach((count, bin) => {
    const y = (HEIGHT - HEIGHT * Math.sqrt(Math.min(1, count / highest))).toFixed(1);
    path += `V${y}H${((bin + 1) * step).toFixed(2)}`;
  });
  return `${path}V${HEIGHT}Z`;
}

function Cell({ cell, names, bins, highest }) {
  return html`<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true" focusable="false">
    ${names.map((name, channel) => html`<path
      class="series ${name}"
      d=${area(cell.slice(channel * bins, (channel + 1) * bins), highest)}
    />`)}
  </svg>`;
}

export function Histogram({ values, settings }) {
  const bins = settings.bins || 256;
  const grid = settings.grid || 1;
  const names = CHANNELS[settings.color ? 3 : 1];
  const perCell = names.length * bins;
  const highest = ceiling(values);
  const cut = values.some((count) => count > highest) ? ", tallest bars cut off" : "";
  const cells = Array.from({ length: grid * grid }, (_, cell) => values.slice(cell * perCell, (cell + 1) * perCell));
  const parts = grid === 1 ? "" : ` in each of ${grid} × ${grid} cells`;
  return html`<figure class="histogram">
    <div class="cells" style=${{ gridTemplateColumns: `repeat(${grid}, 1fr)` }} role="img"
      aria-label="Histogram of the picture: ${bins} ${names.join(", ")} levels${parts}">
      ${cells.map((cell, index) => html`<${Cell} key=${index} ...${{ cell, names, bins, highest }} />`)}
    </div>
    <div class="axis" aria-hidden="true"><span>dark</span><span>bright</span></div>
    <figcaption>Histogram, ${bins} ${settings.color ? "levels of red, green and blue" : "grey levels"}${parts}; square-root scale${cut}</figcaption>
  </figure>`;
}
