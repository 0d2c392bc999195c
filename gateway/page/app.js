// The page: choose a collection and a picture, see its histogram and its nearest in each space, click on from there.
import { html, render, useCallback, useEffect, useMemo, useRef, useState } from "./vendor/htm-preact.module.js";
import { useAddress } from "./address.js";
import { getImage, problemOf } from "./api.js";
import { prepared, useDropAndPaste } from "./choosing.js";
import { progressOf, useCollections } from "./collections.js";
import { NoCollection, NoSuchCollection, NotReady, Samples } from "./empty.js";
import { useKeptFocus } from "./focus.js";
import { keep, recall, remembered } from "./kept.js";
import { nameOf } from "./names.js";
import { QueryCard } from "./query.js";
import { Column } from "./results.js";
import { useLast, useSearch } from "./searching.js";
import { columnsOf, drawnSpace, shownSpaces, titleOf } from "./spaces.js";

const COUNT = 5;
const FILTER_PAUSE_MS = 450;

/** What the address asks with: {id, image} of a stored image, {file, name} of a picture kept here, {isGone}, or null for nothing. */
function useQuery(collection, address) {
  const [known, setKnown] = useState({});
  const { image: id, picture: key } = address;
  const place = id ? `${collection?.name}/${id}` : key;
  useEffect(() => {
    if (known[place] || !place || !collection) return undefined;
    const abort = new AbortController();
    const put = (value) => !abort.signal.aborted && setKnown((all) => ({ ...all, [place]: value }));
    if (id) getImage(collection.name, id, abort.signal).then((image) => put({ image }), () => {}); // The searches report the same problem.
    else if (!remembered(key)) recall(key).then((picture) => put(picture ?? { isGone: true }));
    return () => abort.abort();
  }, [place, collection?.name]);
  const note = useCallback((name, image) => setKnown((all) => ({ ...all, [`${name}/${image.id}`]: { image } })), []);
  if (id) return [{ id, image: known[place]?.image }, note];
  if (key) return [remembered(key) ?? known[key] ?? { isComing: true }, note];
  return [null, note];
}

function Header({ found, name, onChange }) {
  const { collections, collection } = found;
  return html`<header class="top">
    <a class="brand" href="/" aria-label="Lookalike, start again"><img src="/page/icon.svg" alt="" width="28" height="28" />Lookalike</a>
    ${collections.length > 0 && html`<label class="choose-collection">
      <span>Collection</span>
      <select id="collection" value=${collection?.name ?? ""} onChange=${(event) => onChange(event.target.value)}>
        ${!collection && html`<option key="" value="" disabled>${name} (not there)</option>`}
        ${collections.map((one) => html`<option key=${one.name} value=${one.name}>${one.name} (${Number(one.image_count).toLocaleString("en")})</option>`)}
      </select>
    </label>`}
    <nav><a href="/docs">API</a></nav>
  </header>`;
}

/** For people who do not see the columns fill. */
function announcement(query, { results, problem }) {
  const all = Object.values(results);
  if (!query || problem || all.length === 0) return ""; // A problem is an alert of its own.
  if (all.some((result) => result.state === "waiting")) return "Searching.";
  return Object.entries(results).map(([space, result]) => result.state === "found"
    ? `${result.neighbours.length} found by ${titleOf(space)}.`
    : `${titleOf(space)} failed: ${result.error.message}`).join(" ");
}

/** Of one picture's answers: what is wrong with the filter, with the picture, or with all of it. */
function problemsOf(query, answers) {
  const errors = [answers.problem, ...Object.values(answers.results).map((result) => result.error)].filter(Boolean);
  const filter = errors.find((error) => error.field === "options.filter");
  const image = errors.find((error) => ["image", "query.image", "query.image_id", "body"].includes(error.field));
  const isGone = image?.reason === "IMAGE_NOT_FOUND";
  return {
    filter: filter && problemOf(filter),
    image: isGone ? "This picture is no longer in the collection. It was deleted after the link was made."
      : image && problemOf(image, query?.file ? "this file " : ""),
    other: filter || image ? null : answers.problem,
  };
}

/** A filter that finds something: by what a hit is said to be. */
function exampleOf({ results }) {
  const hits = Object.values(results).flatMap((result) => result.neighbours ?? []);
  const facts = hits.flatMap((hit) => Object.entries(hit.image.metadata));
  const [key, value] = facts.find(([name, said]) => /^[a-z_][a-z0-9_]*$/i.test(name) && typeof said === "string" && /^[^"\\*]{1,24}$/.test(said)) ?? [];
  return key ? `${key} = "${value}"` : 'label = "..."';
}

/** The address as a title, so that entries of the history differ. */
function useTitle(text) {
  useEffect(() => { document.title = text ? `${text} · Lookalike` : "Lookalike"; }, [text]);
}

function Results({ collection, query, answers, problems, filter, onPick, onRetry }) {
  if (query.isGone) return null;
  const nothing = problems.filter ? "Nothing is shown while the filter cannot be read."
    : problems.image && "Nothing to show for this picture. Choose another one.";
  if (nothing) return html`<div class="columns"><p class="nothing">${nothing}</p></div>`;
  if (problems.other) {
    return html`<div class="columns"><div class="welcome problem" role="alert">
      <p>${problems.other.message}</p>
      <button type="button" class="plain" onClick=${onRetry}>Try again</button>
    </div></div>`;
  }
  const spaces = shownSpaces(collection).filter((space) => answers.results[space.name]);
  return html`<div class="columns" style=${columnsOf(spaces.length)}>
    ${spaces.map((space) => html`<${Column}
      key=${space.name} collection=${collection.name} ...${{ space, result: answers.results[space.name], filter, isSlow: answers.isSlow }}
      count=${COUNT} onPick=${onPick} onRetry=${onRetry} />`)}
  </div>`;
}

function App() {
  const [address, go] = useAddress();
  const [found, reload] = useCollections(address.collection);
  const { collection, job } = found;
  const [query, note] = useQuery(collection, address);
  const [typed, setTyped] = useState(address.filter);
  const [said, setSaid] = useState({}); // {problem, note} of what was chosen last.
  const [answers, retry] = useSearch(collection, query, address.filter, COUNT, reload);
  const picture = useMemo(() => ({}), [collection?.name, query?.file ?? query?.id]);
  const drawn = drawnSpace(collection);
  const vector = useLast(answers.results[drawn?.name]?.vector, picture);
  const name = query && (query.name ?? (query.image ? nameOf(query.image) : query.id ?? ""));
  useTitle(name);
  useKeptFocus();

  const latest = useRef(0);
  const take = useCallback(async ({ file, note: about = "", problem = "" }) => {
    const turn = (latest.current += 1);
    setSaid({ problem });
    if (!file) return;
    const ready = await prepared(file);
    if (turn !== latest.current) return; // Another one was chosen while this one was scaled down.
    setSaid({ problem: ready.problem, note: [about, ready.note].filter(Boolean).join(" ") });
    if (ready.file) go({ picture: keep(ready), image: "" });
  }, []);
  const pick = useCallback((image, event) => {
    latest.current += 1;
    setSaid({});
    note(collection.name, image);
    go({ collection: collection.name, image: image.id, picture: "" });
    if (event.detail === 0) return; // By the keyboard: the focus stays, and so does what is seen around it.
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    window.scrollTo({ top: 0, behavior: isCalm ? "auto" : "smooth" });
  }, [collection?.name]);
  const clear = () => { latest.current += 1; setSaid({}); go({ image: "", picture: "" }); };
  const change = (chosen) => { setSaid({}); go({ collection: chosen, image: "" }); }; // An id means nothing in another collection; a picture does.
  const over = useDropAndPaste(take);

  useEffect(() => { // A link made from here names the collection, whatever becomes the first one later.
    if (collection && !address.collection) go({ collection: collection.name }, { replace: true });
  }, [collection?.name, address.collection]);
  useEffect(() => { // Wait until the person stops typing.
    const timer = setTimeout(() => go({ filter: typed.trim() }, { replace: true }), FILTER_PAUSE_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  useEffect(() => { // Back and Forward bring their filters with them.
    setTyped((now) => (now.trim() === address.filter ? now : address.filter));
  }, [address.filter]);

  const problems = problemsOf(query, answers);
  const gone = query?.isGone && "The picture of this link is not kept here any more. Choose it again.";
  return html`
    <${Header} found=${found} name=${address.collection} onChange=${change} />
    <p class="visually-hidden" role="status" id="announcement">${announcement(query, answers)}</p>
    <main class=${collection ? "" : "alone"} tabindex="-1">
      ${found.state === "waiting" && html`<p class="nothing">Looking for collections…</p>`}
      ${found.state === "failed" && html`<${NotReady} error=${found.error} />`}
      ${found.state === "found" && !collection && (address.collection
        ? html`<${NoSuchCollection} name=${address.collection} collections=${found.collections} onChoose=${change} />`
        : html`<${NoCollection} onReload=${reload} />`)}
      ${collection && html`
        <${QueryCard}
          collection=${collection} query=${query?.isGone ? null : query} name=${name} vector=${vector} settings=${drawn?.histogram} over=${over}
          filter=${typed} example=${exampleOf(answers)} filterProblem=${problems.filter} note=${said.note}
          complaint=${said.problem || gone || problems.image}
          onFile=${(file) => take({ file })} onFilter=${setTyped} onClear=${clear}
        />
        ${query && html`<${Results} ...${{ collection, query, answers, problems }} filter=${address.filter} onPick=${pick} onRetry=${retry} />`}
        ${(!query || query.isGone) && html`<${Samples} collection=${collection} job=${job} progress=${progressOf(job)} onPick=${pick} />`}
      `}
    </main>`;
}

document.querySelector("#app").replaceChildren();
render(html`<${App} />`, document.querySelector("#app"));
