// A question and its answers: a picture is sent once, whatever the number of spaces, and not again when only the filter changes.
import { useEffect, useMemo, useRef, useState } from "./vendor/htm-preact.module.js";
import { embed, search } from "./api.js";
import { redrawn } from "./choosing.js";

const SLOW_MS = 4000;
// What the server cannot read may be something that this browser can: HEIC, AVIF, a picture of too many pixels.
const WORTH_REDRAWING = ["IMAGE_FORMAT_UNKNOWN", "IMAGE_TOO_MANY_PIXELS", "IMAGE_TOO_LARGE", "BODY_TOO_LARGE"];
// Another model, or no collection of this name: what is known of it is out of date.
const STALE = ["COLLECTION_NOT_FOUND", "FINGERPRINT_MISMATCH", "DIMENSION_MISMATCH"];

const vectors = new WeakMap(); // file -> what the collection's spaces made of it, by `identity`

/** A collection's vectors are another's where name or fingerprints differ. */
const identityOf = (collection) => [collection.name, ...collection.spaces.map((space) => space.fingerprint)].join(" ");

async function vectorsOf(file, collection, signal) {
  const known = vectors.get(file) ?? {};
  const identity = identityOf(collection);
  if (known[identity]) return known[identity];
  const spaces = collection.spaces.map((space) => space.name);
  let made;
  try {
    made = await embed(collection.name, file, spaces, signal);
  } catch (error) {
    const instead = WORTH_REDRAWING.includes(error.reason) ? await redrawn(file) : null;
    if (!instead || signal.aborted) throw error;
    made = await embed(collection.name, instead, spaces, signal);
  }
  vectors.set(file, { ...known, [identity]: made });
  return made;
}

/**
 * {results: by space, problem: of all spaces alike, isSlow} and a way to try again. Answers belong to one question; those to an earlier
 * one are given up, and never shown. `onStale` is called where the collection is no longer what it was.
 */
export function useSearch(collection, query, filter, count, onStale) {
  const [attempt, setAttempt] = useState(0);
  const [answers, setAnswers] = useState({});
  const asked = query?.file ?? query?.id; // What else is known of a stored image changes nothing here.
  const identity = collection && identityOf(collection);
  const question = useMemo(() => ({}), [identity, asked, filter, attempt]);
  // Before the first answer, and before anything was asked: the rows that the answers will fill are there.
  const awaited = useMemo(() => Object.fromEntries((collection?.spaces ?? []).map((space) => [space.name, { state: "waiting" }])), [identity]);
  const isAsked = Boolean(collection && asked);
  useEffect(() => {
    if (!isAsked) return undefined;
    const abort = new AbortController();
    const { signal } = abort;
    const spaces = collection.spaces.map((space) => space.name);
    const put = (change) => !signal.aborted && setAnswers((all) => (all.question === question ? { ...all, ...change(all) } : all));
    const note = (error) => { if (!signal.aborted && STALE.includes(error.reason)) onStale(); };
    setAnswers({ question, results: awaited });
    const slow = setTimeout(() => put(() => ({ isSlow: true })), SLOW_MS);
    const look = async (space, target) => {
      const result = await search(collection.name, target, space, { count, filter, signal }).then(
        (answer) => ({ state: "found", neighbours: answer.neighbours, vector: answer.query_vectors[0] }),
        (error) => { note(error); return { state: "failed", error }; },
      );
      put((all) => ({ results: { ...all.results, [space]: result } }));
    };
    const run = async () => {
      const made = query.file && await vectorsOf(query.file, collection, signal);
      if (signal.aborted) return;
      await Promise.all(spaces.map((space) => look(space, made ? { vectors: { spaces: made.filter((one) => one.space === space) } } : { image_id: query.id })));
    };
    run().catch((error) => { note(error); put(() => ({ problem: error })); }).finally(() => clearTimeout(slow));
    return () => { abort.abort(); clearTimeout(slow); };
  }, [question, isAsked]);
  const { results = awaited, problem, isSlow = false } = answers.question === question ? answers : {};
  return [{ results, problem, isSlow }, () => setAttempt(attempt + 1)];
}

/** The last `value` there was for `key`: a new filter must not make the picture's histogram flicker. */
export function useLast(value, key) {
  const last = useRef({});
  if (value || last.current.key !== key) last.current = { key, value };
  return last.current.value;
}
