// The nearest of one space: a column of hits, each of which is a button that searches from it.
import { html } from "./vendor/htm-preact.module.js";
import { thumbnailUrl } from "./api.js";

export const SPACES = {
  histogram: { title: "Histogram", metric: "Euclidean distance", about: "How bright, and how much of it" },
  siamese: { title: "Siamese", metric: "cosine distance", about: "What is in the picture" },
};

/** Tiny pictures are shown in whole pixels instead of blurred. */
const sharpen = (event) => event.target.classList.toggle("tiny", event.target.naturalWidth < 64);
const markMissing = (event) => event.target.classList.add("missing");

const shown = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

export function Thumbnail({ collection, image }) {
  return html`<img class="thumbnail" src=${thumbnailUrl(collection, image)} alt="" loading="lazy" decoding="async"
    onLoad=${sharpen} onError=${markMissing} />`;
}

export const nameOf = (image) => shown(image.metadata.label ?? image.metadata.title ?? image.metadata.name ?? image.id);

function Facts({ image }) {
  const facts = Object.entries(image.metadata).filter(([name, value]) => shown(value) !== nameOf(image) && name !== "label");
  const text = facts.slice(0, 3).map(([name, value]) => `${name}: ${shown(value)}`).join(" · ");
  return text && html`<span class="facts" title=${text}>${text}</span>`;
}

function Hit({ collection, hit, onPick }) {
  const { image, rank, distance, similarity } = hit;
  const name = nameOf(image);
  const percent = (similarity * 100).toFixed(1);
  const spoken = `${name}, id ${image.id}, number ${rank}, distance ${distance.toFixed(3)}, similarity ${percent} percent. Search from it.`;
  return html`<li>
    <button type="button" class="hit" aria-label=${spoken} data-id=${image.id} onClick=${() => onPick(image)}>
      <span class="frame"><${Thumbnail} collection=${collection} image=${image} /><span class="rank">${rank}</span></span>
      <span class="what">
        <span class="name">${name}</span>
        ${name !== image.id && html`<span class="id" title=${image.id}>${image.id}</span>`}
        <${Facts} image=${image} />
      </span>
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

function Waiting({ count }) {
  return html`<ol class="hits" aria-hidden="true">
    ${Array.from({ length: count }, (_, index) => html`<li key=${index} class="hit skeleton"><span class="frame"></span></li>`)}
  </ol>`;
}

function Found({ collection, space, result, filter, onPick }) {
  if (result.neighbours.length === 0) {
    const why = filter
      ? "No image fits the filter. Loosen it, or clear it."
      : "There is no other image in this collection yet.";
    return html`<p class="nothing">${why}</p>`;
  }
  return html`<ol class="hits" aria-label="Nearest by ${SPACES[space].title}">
    ${result.neighbours.map((hit) => html`<${Hit} key=${hit.image.id} ...${{ collection, hit, onPick }} />`)}
  </ol>`;
}

export function Column({ collection, space, result, count, filter, onPick, onRetry }) {
  const { title, metric, about } = SPACES[space];
  return html`<section class="column ${space}" aria-labelledby="title-${space}" aria-busy=${result.state === "waiting"}>
    <header>
      <h2 id="title-${space}">${title}</h2>
      <p><span class="about">${about} · </span>d = ${metric}</p>
    </header>
    ${result.state === "waiting" && html`<${Waiting} count=${count} />`}
    ${result.state === "failed" && html`<div class="problem" role="alert">
      <p>${result.error.message}</p>
      <button type="button" class="plain" onClick=${onRetry}>Try again</button>
    </div>`}
    ${result.state === "found" && html`<${Found} ...${{ collection, space, result, filter, onPick }} />`}
  </section>`;
}
