// The picture searched from: drop, choose or paste one; see it, its histogram, and what the answers must fit.
import { html, useEffect, useRef } from "./vendor/htm-preact.module.js";
import { MEDIA_TYPES } from "./formats.js";
import { Histogram } from "./histogram.js";
import { placeOf, shown } from "./names.js";
import { Thumbnail } from "./results.js";

/** A chosen file, drawn to a canvas: no copy of it is kept and no URL made. */
function Preview({ file, name }) {
  const canvas = useRef(null);
  useEffect(() => {
    let gone = false;
    createImageBitmap(file).then((bitmap) => {
      if (gone || !canvas.current) return;
      const scale = Math.min(1, 480 / Math.max(bitmap.width, bitmap.height));
      canvas.current.width = Math.max(1, Math.round(bitmap.width * scale));
      canvas.current.height = Math.max(1, Math.round(bitmap.height * scale));
      canvas.current.classList.toggle("tiny", bitmap.width < 64);
      canvas.current.classList.remove("missing");
      canvas.current.getContext("2d").drawImage(bitmap, 0, 0, canvas.current.width, canvas.current.height);
      bitmap.close();
    }, () => canvas.current?.classList.add("missing")); // TIFF, say: the server reads more formats than browsers show.
    return () => { gone = true; };
  }, [file]);
  return html`<canvas ref=${canvas} class="preview" role="img" aria-label="The picture searched with: ${name}"></canvas>`;
}

function Picture({ collection, query }) {
  if (query.file) return html`<${Preview} file=${query.file} name=${query.name} />`;
  return query.image && html`<${Thumbnail} collection=${collection.name} image=${query.image} />`;
}

function Chooser({ query, over, onFile }) {
  const input = useRef(null);
  const choose = (event) => {
    const [file] = event.target.files;
    if (file) onFile(file);
    event.target.value = ""; // Choosing the same file again must count as a choice.
  };
  return html`
    <input ref=${input} id="file" class="visually-hidden" type="file" tabindex="-1" aria-hidden="true" accept=${MEDIA_TYPES} onChange=${choose} />
    <button type="button" id="choose" class=${query ? "plain" : `drop ${over ? "over" : ""}`} onClick=${() => input.current.click()}>
      ${query ? "Choose another picture" : html`
        <svg viewBox="0 0 24 24" width="28" height="28" aria-hidden="true" focusable="false"><path d="M12 16V5m0 0L7.5 9.5M12 5l4.5 4.5M4.5 15.5v2a2 2 0 0 0 2 2h11a2 2 0 0 0 2-2v-2" /></svg>
        <strong>Choose a picture</strong>
        <span>or drop or paste one here</span>`}
    </button>`;
}

function Filter({ filter, example, problem, onFilter }) {
  return html`<div class="filter">
    <label for="filter">Filter</label>
    <input id="filter" type="search" spellcheck="false" autocomplete="off" autocapitalize="off" value=${filter}
      placeholder=${example} aria-describedby="filter-note" aria-invalid=${Boolean(problem)}
      onInput=${(event) => onFilter(event.target.value)} />
    <p id="filter-note" class=${problem ? "wrong" : "note"} role=${problem ? "alert" : null}>
      ${problem ?? "On metadata, with AND, OR, NOT, IN and parentheses."}
    </p>
  </div>`;
}

/** The stored image's own words: where it came from, and the id to name it by. */
function Origin({ query }) {
  const place = placeOf(query.image?.uri ?? "");
  return html`
    ${place && html`<p class="note"><bdi>${place}</bdi></p>`}
    <p class="note">id <bdi class="id">${shown(query.id)}</bdi></p>`;
}

export function QueryCard({ collection, query, name, vector, settings, over, filter, example, filterProblem, note, complaint, onFile, onFilter, onClear }) {
  return html`<section class="query ${over ? "over" : ""}" aria-label="Query">
    ${query && html`<div class="asked">
      <div class="picture"><${Picture} collection=${collection} query=${query} /></div>
      <div class="caption">
        <h1 class="called" id="asked" tabindex="-1"><bdi>${name || "…"}</bdi></h1>
        ${query.file ? html`<p class="note">Your picture</p>` : query.id && html`<${Origin} query=${query} />`}
        ${note && html`<p class="note" role="status">${note}</p>`}
      </div>
    </div>`}
    <div class="actions">
      <${Chooser} query=${query} over=${over} onFile=${onFile} />
      ${query && html`<button type="button" class="plain" onClick=${onClear}>Clear</button>`}
    </div>
    ${complaint && html`<p class="wrong" role="alert" id="complaint">${complaint}</p>`}
    ${query && vector && settings && html`<${Histogram} values=${vector.values} settings=${settings} />`}
    <${Filter} filter=${filter} example=${example} problem=${filterProblem} onFilter=${onFilter} />
  </section>`;
}
