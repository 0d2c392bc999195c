// The page: choose a collection and a picture, see its histogram and its nearest in each space, click on from there.
import { html, render, useCallback, useEffect, useMemo, useRef, useState } from "./vendor/htm-preact.module.js";
import { getImage, listCollections, problemOf, search } from "./api.js";
import { NoCollection, NotReady, Samples } from "./empty.js";
import { QueryCard } from "./query.js";
import { Column, SPACES } from "./results.js";

const COUNT = 5;
const RETRY_MS = 2000;
const FILTER_PAUSE_MS = 450;
const MAX_BYTES = 20_000_000;

/** What the address says: the collection, the stored image searched from, the filter. */
function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  return { collection: said.get("collection") ?? "", id: said.get("image") ?? "", filter: said.get("filter") ?? "" };
}

function writeAddress({ collection, id, filter }, { replace = false } = {}) {
  const said = new URLSearchParams(Object.entries({ collection, image: id, filter }).filter(([, value]) => value));
  const hash = `#${said}`;
  if (hash === location.hash || (hash === "#" && !location.hash)) return;
  history[replace ? "replaceState" : "pushState"](null, "", hash);
}

/** The collections, asked for again every two seconds until they come. */
function useCollections() {
  const [found, setFound] = useState({ state: "waiting" });
  useEffect(() => {
    const abort = new AbortController();
    let timer;
    const ask = () => listCollections(abort.signal).then(
      (collections) => setFound({ state: "found", collections }),
      (error) => {
        if (abort.signal.aborted) return;
        setFound({ state: "failed", error });
        timer = setTimeout(ask, RETRY_MS);
      },
    );
    ask();
    return () => { abort.abort(); clearTimeout(timer); };
  }, []);
  const reload = useCallback(() => listCollections().then((collections) => setFound({ state: "found", collections }), () => {}), []);
  return [found, reload];
}

/**
 * The answers of every space that the collection has, searched side by side, and a way to try again. Answers belong to one
 * question; those to an earlier one are never shown, not even for a moment.
 */
function useSearch(collection, query, filter) {
  const [attempt, setAttempt] = useState(0);
  const [answers, setAnswers] = useState({});
  const asked = query?.file ?? query?.id; // What else is known of a stored image changes nothing here.
  const question = useMemo(() => ({}), [collection?.name, asked, filter, attempt]);
  useEffect(() => {
    if (!collection || !query) return undefined;
    const abort = new AbortController();
    const spaces = collection.spaces.map((space) => space.name);
    const put = (space, result) => !abort.signal.aborted && setAnswers((all) => (all.question === question
      ? { question, results: { ...all.results, [space]: result } } : all));
    setAnswers({ question, results: Object.fromEntries(spaces.map((space) => [space, { state: "waiting" }])) });
    for (const space of spaces) {
      search(collection.name, query, space, { count: COUNT, filter, signal: abort.signal }).then(
        (answer) => put(space, { state: "found", neighbours: answer.neighbours, vector: answer.query_vectors[0] }),
        (error) => put(space, { state: "failed", error }),
      );
    }
    return () => abort.abort();
  }, [question]);
  return [answers.question === question ? answers.results : {}, () => setAttempt(attempt + 1)];
}

/** The last `value` there was for `key`: a new filter must not make the picture's histogram flicker. */
function useLast(value, key) {
  const last = useRef({});
  if (value || last.current.key !== key) last.current = { key, value };
  return last.current.value;
}

/** Pictures pasted or dropped anywhere on the page. */
function useDropAndPaste(take) {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const files = (list) => [...(list ?? [])].find((file) => file.type.startsWith("image/")) ?? list?.[0];
    const listeners = {
      paste: (event) => { const file = files(event.clipboardData?.files); if (file) take(file); },
      dragover: (event) => { event.preventDefault(); setOver(true); },
      dragleave: (event) => { if (!event.relatedTarget) setOver(false); },
      drop: (event) => {
        event.preventDefault();
        setOver(false);
        const file = files(event.dataTransfer?.files);
        if (file) take(file);
      },
    };
    for (const [name, listener] of Object.entries(listeners)) window.addEventListener(name, listener);
    return () => { for (const [name, listener] of Object.entries(listeners)) window.removeEventListener(name, listener); };
  }, [take]);
  return over;
}

/** What is wrong with a file before it is sent, in words; "" for nothing. */
function refusal(file) {
  if (file.size === 0) return `${file.name} is empty. Choose another picture.`;
  if (file.size > MAX_BYTES) return `${file.name} is ${(file.size / 1e6).toFixed(1)} MB. Pictures may have up to 20 MB.`;
  return "";
}

function Header({ collections, name, onChange }) {
  return html`<header class="top">
    <a class="brand" href="/" aria-label="Lookalike, start again"><img src="/page/icon.svg" alt="" width="28" height="28" />Lookalike</a>
    ${collections.length > 0 && html`<label class="choose-collection">
      <span>Collection</span>
      <select id="collection" value=${name} onChange=${(event) => onChange(event.target.value)}>
        ${collections.map((one) => html`<option key=${one.name} value=${one.name}>${one.name} (${Number(one.image_count).toLocaleString("en")})</option>`)}
      </select>
    </label>`}
    <nav><a href="/docs">API</a></nav>
  </header>`;
}

/** For people who do not see the columns fill. */
function announcement(query, results) {
  const all = Object.values(results);
  if (!query || all.length === 0) return "";
  if (all.some((result) => result.state === "waiting")) return "Searching.";
  return Object.entries(results).map(([space, result]) => result.state === "found"
    ? `${result.neighbours.length} found by ${SPACES[space].title}.`
    : `${SPACES[space].title} failed: ${result.error.message}`).join(" ");
}

function App() {
  const start = useRef(readAddress()).current;
  const [found, reload] = useCollections();
  const [name, setName] = useState(start.collection);
  const [query, setQuery] = useState(start.id ? { id: start.id } : null);
  const [typed, setTyped] = useState(start.filter);
  const [filter, setFilter] = useState(start.filter);
  const [complaint, setComplaint] = useState("");
  const collections = found.collections ?? [];
  const collection = useMemo(() => collections.find((one) => one.name === name) ?? collections[0], [found, name]);
  const [results, retry] = useSearch(collection, query, filter);
  const picture = useMemo(() => ({}), [collection?.name, query?.file ?? query?.id]);
  const vector = useLast(results.histogram?.vector, picture);

  const take = useCallback((file) => {
    const wrong = refusal(file);
    setComplaint(wrong);
    if (wrong) return;
    setQuery({ file, name: file.name || "Pasted picture" });
    writeAddress({ ...readAddress(), id: "" });
  }, []);
  const pick = useCallback((image) => {
    setComplaint("");
    setQuery({ id: image.id, image });
    writeAddress({ ...readAddress(), collection: collection?.name, id: image.id });
    window.scrollTo({ top: 0, behavior: "smooth" });
  }, [collection?.name]);
  const change = (chosen) => {
    setName(chosen);
    setQuery((now) => (now?.file ? now : null)); // An id means nothing in another collection; a file does.
    writeAddress({ collection: chosen, id: "", filter });
  };
  const over = useDropAndPaste(take);

  useEffect(() => { // Wait until the person stops typing.
    const timer = setTimeout(() => { setFilter(typed.trim()); writeAddress({ ...readAddress(), filter: typed.trim() }, { replace: true }); }, FILTER_PAUSE_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  useEffect(() => { // Back and forward walk through the images searched from.
    const restore = () => {
      const said = readAddress();
      setName(said.collection);
      setQuery(said.id ? { id: said.id } : null);
      setTyped(said.filter);
      setFilter(said.filter);
    };
    window.addEventListener("popstate", restore);
    return () => window.removeEventListener("popstate", restore);
  }, []);
  useEffect(() => { // An image known by its id only, from the address: fetch what else is known of it.
    if (!collection || !query?.id || query.image) return undefined;
    const abort = new AbortController();
    getImage(collection.name, query.id, abort.signal).then(
      (image) => setQuery((now) => (now?.id === image.id ? { ...now, image } : now)),
      () => {}, // The searches tell the same problem.
    );
    return () => abort.abort();
  }, [collection?.name, query?.id]);

  const failures = Object.values(results).filter((result) => result.state === "failed").map((result) => result.error);
  const filterProblem = failures.find((error) => error.field === "filter");
  const imageProblem = failures.find((error) => error.field === "image" || error.field === "image_id");
  const shownProblem = filterProblem ?? imageProblem;
  return html`
    <${Header} collections=${collections} name=${collection?.name} onChange=${change} />
    <p class="visually-hidden" role="status" id="announcement">${announcement(query, results)}</p>
    <main class=${collection ? "" : "alone"}>
      ${found.state === "waiting" && html`<p class="nothing">Looking for collections…</p>`}
      ${found.state === "failed" && html`<${NotReady} error=${found.error} />`}
      ${found.state === "found" && !collection && html`<${NoCollection} onReload=${reload} />`}
      ${collection && html`
        <${QueryCard}
          collection=${collection} query=${query} vector=${vector} over=${over}
          filter=${typed} filterProblem=${filterProblem && problemOf(filterProblem)}
          complaint=${complaint || (imageProblem && problemOf(imageProblem, query?.file ? "this file " : ""))}
          onFile=${take} onFilter=${setTyped} onClear=${() => { setQuery(null); setComplaint(""); writeAddress({ ...readAddress(), id: "" }); }}
        />
        ${query && !shownProblem && html`<div class="columns">
          ${Object.entries(results).map(([space, result]) => html`<${Column}
            key=${space} collection=${collection.name} ...${{ space, result, filter }} count=${COUNT} onPick=${pick} onRetry=${retry} />`)}
        </div>`}
        ${query && shownProblem && html`<div class="columns"><p class="nothing">${filterProblem
          ? "Nothing is shown while the filter cannot be read." : "Nothing to show for this picture. Choose another one."}</p></div>`}
        ${!query && html`<${Samples} collection=${collection} onPick=${pick} />`}
      `}
    </main>`;
}

document.querySelector("#app").replaceChildren();
render(html`<${App} />`, document.querySelector("#app"));
