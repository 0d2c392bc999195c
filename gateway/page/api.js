// The gateway's HTTP API, as this page uses it. Every failure is an ApiError with one line for a person.

export class ApiError extends Error {
  constructor(message, { code = 0, status = "", reason = "", field = null } = {}) {
    super(message);
    Object.assign(this, { code, status, reason, field });
  }
}

/** The message without the field's name, where the page shows it at that field; `subject` begins the sentence. */
export function problemOf(error, subject = "") {
  const text = error.message.startsWith(`${error.field}: `) ? error.message.slice(error.field.length + 2) : error.message;
  const sentence = `${subject}${text}`;
  return `${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}.`;
}

/** What the server said, whole: an answer may also be given up, or break off, after its headers came. */
async function receive(path, options) {
  try {
    const response = await fetch(path, options);
    return { response, text: await response.text() };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. Check that it is running, then try again.");
  }
}

/** A whole number that JavaScript would round as a BigInt, where the browser shows a reviver the text. */
const exact = (_key, value, context) =>
  Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/u.test(context?.source) ? BigInt(context.source) : value;

function parsed(text) {
  try {
    return JSON.parse(text, exact);
  } catch {
    return null; // A proxy's own error page, say.
  }
}

async function call(path, options = {}) {
  const { response, text } = await receive(path, options);
  const body = parsed(text);
  if (response.ok && body) return body;
  if (response.ok) throw new ApiError("The server's answer broke off. Try again.");
  const problem = body?.error ?? {};
  throw new ApiError(problem.message ?? `The server answered with code ${response.status}.`, { ...problem, code: response.status });
}

const inCollection = (collection) => `/v1/collections/${encodeURIComponent(collection)}`;

export async function listCollections(signal) {
  const collections = [];
  let token = "";
  do {
    const page = await call(`/v1/collections?page_size=1000&page_token=${encodeURIComponent(token)}`, { signal });
    collections.push(...page.collections);
    token = page.next_page_token;
  } while (token);
  return collections;
}

export const listImages = async (collection, count, signal) =>
  (await call(`${inCollection(collection)}/images?page_size=${count}`, { signal })).images;

export const getImage = async (collection, id, signal) =>
  (await call(`${inCollection(collection)}/images/${encodeURIComponent(id)}`, { signal })).image;

export const thumbnailUrl = (collection, image) =>
  `${inCollection(collection)}/thumbnail?id=${encodeURIComponent(image.id)}&v=${image.sha256.slice(0, 8)}`;

/** The newest jobs of a collection, newest first. */
export const latestJobs = async (collection, signal) =>
  (await call(`/v1/ingest-jobs?collection=${encodeURIComponent(collection)}&page_size=5`, { signal })).jobs;

/** What the `spaces` make of a picture: a vector each, as `search` takes them. This alone sends the file. */
export async function embed(collection, file, spaces, signal) {
  const form = new FormData();
  form.set("image", file, "picture");
  form.set("spaces", spaces.join(","));
  form.set("top_k", "1");
  form.set("include_query_vectors", "true");
  return (await call(`${inCollection(collection)}/search`, { method: "POST", body: form, signal })).query_vectors;
}

/** The nearest of `query` ({vectors} of one space, or {image_id}) in one space, with the query's own vector. */
export function search(collection, query, space, { count, filter, signal }) {
  const options = { spaces: [space], top_k: count, filter, include_query_vectors: true };
  const body = JSON.stringify({ query, options });
  return call(`${inCollection(collection)}/search`, { method: "POST", headers: { "content-type": "application/json" }, body, signal });
}
