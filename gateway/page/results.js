// The nearest of one space: a column of hits, each of which is a button that searches from it.
import { html } from "./vendor/htm-preact.module.js";
import { thumbnailUrl } from "./api.js";
import { Name, nameOf, partsOf, shortened, shown } from "./names.js";

/** Tiny pictures are shown in whole pixels instead of blurred. */
const sharpen = (event) => event.target.classList.toggle("tiny", event.target.naturalWidth < 64);
const markMissing = (event) => event.target.classList.add("missing");

export function Thumbnail({ collection, image }) {
  return html`<img key=${image.id} class="thumbnail" src=${thumbnailUrl(collection, image)} alt="" loading="lazy" decoding="async" draggable=${false}
    onLoad=${sharpen} onError=${markMissing} />`;
}

/** What else is known: the label first, up to three facts, and the folder. */
function Facts({ image }) {
  const name = nameOf(image);
  const { label, ...others } = image.metadata;
  const facts = [...(label === undefined ? [] : [["label", label]]), ...Object.entries(others)]
    .map(([key, value]) => [key, shown(value)]).filter(([, value]) => value && value !== name).slice(0, 3);
  const { folder } = partsOf(image.uri);
  return html`
    ${facts.length > 0 && html`<span class="facts">${facts.map(([key, value]) => html`<span key=${key}>${shown(key)}: <bdi>${shortened(value, 42)}</bdi></span>`)}</span>`}
    ${folder && html`<bdi class="folder">${folder.split("/").slice(-2).join("/")}</bdi>`}`;
}

/** One row, for a hit and while one is awaited: the same button, so that the focus stays where it is. */
function Row({ collection, hit, onPick }) {
  if (!hit) return html`<li><button type="button" class="row" aria-disabled="true" aria-label="Searching"><span class="frame"></span></button></li>`;
  const { image, rank, distance, similarity } = hit;
  const name = nameOf(image);
  const percent = (similarity * 100).toFixed(1);
  const spoken = `${name}, number ${rank}, distance ${distance.toFixed(3)}, similarity ${percent} percent. Search from it.`;
  return html`<li>
    <button type="button" class="row hit" aria-label=${spoken} data-id=${image.id} onClick=${(event) => onPick(image, event)}>
      <span class="frame"><${Thumbnail} key=${image.id} collection=${collection} image=${image} /><span class="rank">${rank}</span></span>
      <span class="what"><${Name} text=${name} /><${Facts} image=${image} /></span>
      <span class="measure">
        <span class="numbers">
          <span title="Distance">d <b>${distance.toFixed(3)}</b></span>
          <span title="Similarity, 0 to 100%"><b>${percent}</b>%</span>
        </span>
        <span class="bar"><span style=${{ width: `${percent}%` }}></span></span>
      </span>
    </button>
  </li>`;
}

function Rows({ collection, title, hits, onPick }) {
  return html`<ol class="hits" aria-label="Nearest by ${title}">
    ${hits.map((hit, index) => html`<${Row} key=${index} ...${{ collection, hit, onPick }} />`)}
  </ol>`;
}

export function Column({ collection, space, result, count, filter, isSlow, onPick, onRetry }) {
  const { name, title, metric, about, kind } = space;
  const isWaiting = result.state === "waiting";
  const hits = isWaiting ? Array(count).fill(null) : result.neighbours ?? [];
  return html`<section class="column" data-space=${name} data-kind=${kind} aria-labelledby="title-${name}" aria-busy=${isWaiting}>
    <header>
      <h2 id="title-${name}">${title}</h2>
      <p>${isWaiting && isSlow ? "Still searching…" : html`<span class="about">${about} · </span>d = ${metric}`}</p>
    </header>
    ${result.state === "failed" && html`<div class="problem" role="alert">
      <p>${result.error.message}</p>
      <button type="button" class="plain" onClick=${onRetry}>Try again</button>
    </div>`}
    ${result.state === "found" && hits.length === 0 && html`<p class="nothing">${filter
      ? "No image fits the filter. Loosen it, or clear it."
      : "There is no other image in this collection yet."}</p>`}
    ${hits.length > 0 && html`<${Rows} ...${{ collection, title, hits, onPick }} />`}
  </section>`;
}
