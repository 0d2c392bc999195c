// What the page shows while there is nothing to search with or in.
import { html, useEffect, useState } from "./vendor/htm-preact.module.js";
import { listImages } from "./api.js";
import { isRunning } from "./collections.js";
import { Name, nameOf } from "./names.js";
import { Thumbnail } from "./results.js";

const SAMPLES = 24; // Whole rows of 3, 4, 6 and 8.

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
    <pre tabindex="0"><code>lookalike ingest ~/Pictures --collection pictures --create --watch</code></pre>
    <p>Then come back here, choose a picture, and see what looks like it.</p>
    <button type="button" class="strong" onClick=${onReload}>Look again</button>
  </section>`;
}

export function NoSuchCollection({ name, collections, onChoose }) {
  return html`<section class="welcome" role="alert">
    <h1>There is no collection “<bdi>${name}</bdi>”</h1>
    <p>It was deleted or renamed after this link was made.${collections.length > 0 && " These are there:"}</p>
    ${collections.length > 0 && html`<ul class="choices">
      ${collections.map((one) => html`<li key=${one.name}><button type="button" class="plain" onClick=${() => onChoose(one.name)}>${one.name}</button></li>`)}
    </ul>`}
  </section>`;
}

function Progress({ job, progress }) {
  if (!progress) return null;
  const { submitted, indexed, skipped, failed } = job.counts;
  const ended = [indexed, skipped, failed].reduce((sum, count) => sum + Number(count), 0);
  return html`<div class="progress" role="status">
    <p>${progress}</p>
    ${isRunning(job) && Number(submitted) > 0 && html`<progress max=${submitted} value=${ended} aria-label="Progress of the ingest job"></progress>`}
  </div>`;
}

function NoImages({ collection, job, progress }) {
  const title = isRunning(job) ? "is being filled" : "is empty";
  return html`<div class="columns"><section class="welcome">
    <h1>${collection.name} ${title}</h1>
    <${Progress} job=${job} progress=${progress} />
    ${isRunning(job) ? html`<p>Pictures show here as soon as the first are in.</p>` : html`
      <p>Add a folder of pictures to it:</p>
      <pre tabindex="0"><code>lookalike ingest ~/Pictures --collection ${collection.name} --watch</code></pre>`}
  </section></div>`;
}

export function Samples({ collection, job, progress, onPick }) {
  const [images, setImages] = useState(null);
  const [error, setError] = useState(null);
  const [attempt, setAttempt] = useState(0);
  const few = Math.min(SAMPLES, Number(collection.image_count)); // While a first job runs there are more each time.
  useEffect(() => setImages(null), [collection.name]);
  useEffect(() => {
    const abort = new AbortController();
    setError(null);
    listImages(collection.name, SAMPLES, abort.signal).then(setImages, (problem) => !abort.signal.aborted && setError(problem));
    return () => abort.abort();
  }, [collection.name, few, attempt]);
  if (error && !images?.length) {
    return html`<div class="columns"><div class="welcome problem" role="alert">
      <p>${error.message}</p>
      <button type="button" class="plain" onClick=${() => setAttempt(attempt + 1)}>Try again</button>
    </div></div>`;
  }
  if (images?.length === 0) return html`<${NoImages} ...${{ collection, job, progress }} />`;
  return html`<section class="samples" aria-labelledby="samples-title" aria-busy=${images === null}>
    <header>
      <h1 id="samples-title">Find what looks alike</h1>
      <p>Choose a picture of your own, or start from one of these:</p>
    </header>
    <${Progress} job=${job} progress=${progress} />
    <ul>
      ${(images ?? []).map((image) => html`<li key=${image.id}>
        <button type="button" class="sample" aria-label="Search from ${nameOf(image)}" onClick=${(event) => onPick(image, event)}>
          <${Thumbnail} collection=${collection.name} image=${image} />
          <${Name} text=${nameOf(image)} most=${30} />
        </button>
      </li>`)}
    </ul>
  </section>`;
}
