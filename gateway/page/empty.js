// What the page shows while there is nothing to search with or in.
import { html, useEffect, useState } from "./vendor/htm-preact.module.js";
import { listImages } from "./api.js";
import { Thumbnail, nameOf } from "./results.js";

const SAMPLES = 21;

export function NotReady({ error }) {
  return html`<section class="welcome" role="alert">
    <h1>Not ready yet</h1>
    <p>${error.message}</p>
    <p class="note">This page tries again by itself. What is missing is listed at <a href="/readyz">/readyz</a>.</p>
  </section>`;
}

export function NoCollection({ onReload }) {
  return html`<section class="welcome">
    <h1>No collection yet</h1>
    <p>A collection is a set of images that is searched together. Make one from a folder of pictures:</p>
    <pre tabindex="0"><code>lookalike ingest ~/Pictures --collection photos --create --watch</code></pre>
    <p>Then come back here, choose a picture, and see what looks like it.</p>
    <button type="button" class="strong" onClick=${onReload}>Look again</button>
  </section>`;
}

function NoImages({ collection }) {
  return html`<div class="columns"><section class="welcome">
    <h1>${collection.name} is empty</h1>
    <p>Add a folder of pictures to it:</p>
    <pre tabindex="0"><code>lookalike ingest ~/Pictures --collection ${collection.name} --watch</code></pre>
  </section></div>`;
}

export function Samples({ collection, onPick }) {
  const [images, setImages] = useState(null);
  useEffect(() => {
    const abort = new AbortController();
    setImages(null);
    listImages(collection.name, SAMPLES, abort.signal).then(setImages, () => !abort.signal.aborted && setImages([]));
    return () => abort.abort();
  }, [collection.name]);
  if (images?.length === 0) return html`<${NoImages} collection=${collection} />`;
  return html`<section class="samples" aria-labelledby="samples-title" aria-busy=${images === null}>
    <header>
      <h2 id="samples-title">Find what looks alike</h2>
      <p>Choose a picture of your own, or start from one of ${collection.name}:</p>
    </header>
    <ul>
      ${(images ?? []).map((image) => html`<li key=${image.id}>
        <button type="button" class="sample" title=${image.id} aria-label="Search from ${nameOf(image)}, id ${image.id}" onClick=${() => onPick(image)}>
          <${Thumbnail} collection=${collection.name} image=${image} />
          <span class="name">${nameOf(image)}</span>
        </button>
      </li>`)}
    </ul>
  </section>`;
}
