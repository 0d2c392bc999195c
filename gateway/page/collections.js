// The collections and the job under way, asked for again and again: every two seconds while a job runs, more and more seldom while
// there is nothing to see, and not at all while nobody looks.
import { useCallback, useEffect, useRef, useState } from "./vendor/htm-preact.module.js";
import { latestJobs, listCollections } from "./api.js";

const SOON_MS = 2000;
const LONGEST_MS = 15_000;
const IDLE_MS = 30_000;

/** A job has ended exactly where it has an end: a newer gateway may know further states. */
export const isRunning = (job) => Boolean(job) && !job.end_time;

/** The collection of this name; without a name, the first that holds anything. */
function chosen(collections, name) {
  if (name) return collections.find((one) => one.name === name);
  return collections.find((one) => Number(one.image_count) > 0) ?? collections[0];
}

/** A collection's job that is under way, else its latest; null where there is none, or jobs cannot be read now. */
async function jobOf(collection, signal) {
  if (!collection) return null;
  const jobs = await latestJobs(collection.name, signal).catch((error) => { if (signal.aborted) throw error; return []; });
  const writing = jobs.filter((job) => !job.dry_run);
  return writing.find(isRunning) ?? writing[0] ?? null;
}

/** {state: waiting | found | failed, collections, collection, job, error}, and a way to ask now. `name` is what the address says. */
export function useCollections(name) {
  const [found, setFound] = useState({ state: "waiting", collections: [] });
  const [asked, setAsked] = useState(0);
  const shown = useRef("");
  useEffect(() => {
    const abort = new AbortController();
    let timer;
    let pause = SOON_MS;
    const put = (next) => { // What has not changed draws nothing anew.
      const text = JSON.stringify([next, next.error?.message]);
      if (text !== shown.current) setFound(next);
      shown.current = text;
    };
    const later = (ms) => { timer = setTimeout(ask, ms); };
    const ask = async () => {
      if (document.hidden) return; // `look` goes on when the page is looked at again.
      try {
        const collections = await listCollections(abort.signal);
        const collection = chosen(collections, name);
        const job = await jobOf(collection, abort.signal);
        put({ state: "found", collections, collection, job });
        const isBusy = isRunning(job);
        const isEmpty = !collection || Number(collection.image_count) === 0;
        later(isBusy ? SOON_MS : isEmpty ? pause : IDLE_MS);
        pause = isBusy ? SOON_MS : Math.min(LONGEST_MS, 1.5 * pause);
      } catch (error) {
        if (abort.signal.aborted) return;
        if (!shown.current.startsWith('[{"state":"found"')) put({ state: "failed", collections: [], error });
        later(pause); // What was found stays; the searches report what is wrong.
        pause = Math.min(LONGEST_MS, 1.5 * pause);
      }
    };
    const look = () => { if (!document.hidden) { clearTimeout(timer); pause = SOON_MS; ask(); } };
    ask();
    document.addEventListener("visibilitychange", look);
    window.addEventListener("online", look);
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
      window.removeEventListener("online", look);
    };
  }, [name, asked]);
  const collection = chosen(found.collections, name); // At once, when another is chosen; the job follows.
  const job = found.job?.collection === collection?.name ? found.job : null;
  return [{ ...found, collection, job }, useCallback(() => setAsked((count) => count + 1), [])];
}

const number = (text) => Number(text).toLocaleString("en");

/** How far a job is, in words; "" for one that has ended well. */
export function progressOf(job) {
  if (!job) return "";
  const { submitted, indexed, skipped, failed } = job.counts;
  const besides = [[skipped, "skipped"], [failed, "failed"]].filter(([count]) => Number(count) > 0).map(([count, what]) => `, ${number(count)} ${what}`).join("");
  if (job.undo) return `The last ingest job was undone: ${number(job.undo.deleted)} of its pictures were deleted.`;
  if (job.state === "INGEST_JOB_STATE_FAILED") return `The last ingest job failed: ${job.error?.message ?? "it does not say why"}`;
  if (!isRunning(job)) return Number(failed) > 0 ? `Of the last ingest job, ${number(indexed)} of ${number(submitted)} pictures were indexed${besides}. lookalike jobs failures ${job.id} says why.` : "";
  const what = job.source.collection ? "Embedding anew" : "Ingesting"; // A collection as its own source: another model for it.
  if (job.paused) return `${what} is paused, with ${number(indexed)} of ${number(submitted)} indexed${besides}.`;
  if (job.stalled) return `${what} has come to a halt, with ${number(indexed)} of ${number(submitted)} indexed${besides}. lookalike jobs show ${job.id} says more.`;
  if (job.state === "INGEST_JOB_STATE_PENDING") return "An ingest job waits for its turn.";
  if (job.state === "INGEST_JOB_STATE_PLANNING") return `Looking for pictures, ${number(job.listed)} so far.`;
  if (job.state === "INGEST_JOB_STATE_CANCELLING") return `The ingest job is being cancelled, with ${number(indexed)} indexed.`;
  return `${what}, ${number(indexed)} of ${number(submitted)} so far${besides}.`;
}
