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

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // A proxy's own error page, say.
  }
}

async function call(path, options = {}) {
  const { response, text } = await receive(path, options);
  const body = parsed(text);
  if (response.ok && body) return body;
  if (response.ok) throw new ApiError("The server's answer broke off. Try again.");
  const told = body?.error ?? {};
  throw new ApiError(told.message ?? `The server answered with code ${response.status}.`, { ...told, code: response.status });
}

const inCollection = (collection) => `/v1/collections/${encodeURIComponent(collection)}`;

export const listCollections = async (signal) => (await call("/v1/collections", { signal })).collections;

export const listImages = async (collection, count, signal) =>
  (await call(`${inCollection(collection)}/images?page_size=${count}`, { signal })).images;

export const getImage = async (collection, id, signal) =>
  (await call(`${inCollection(collection)}/images/${encodeURIComponent(id)}`, { signal })).image;

export const thumbnailUrl = (collection, image) =>
  `${inCollection(collection)}/thumbnail?id=${encodeURIComponent(image.id)}&v=${image.sha256.slice(0, 8)}`;

/** The nearest of `query` ({file} or {id}) in one space, with the query's own vector. */
export function search(collection, query, space, { count, filter, signal }) {
  const path = `${inCollection(collection)}/search`;
  if (!query.file) {
    const body = { image_id: query.id, spaces: [space], top_k: count, filter, include_query_vectors: true };
    const headers = { "content-type": "application/json" };
    return call(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  }
  const form = new FormData();
  form.set("image", query.file);
  form.set("spaces", space);
  form.set("top_k", String(count));
  form.set("filter", filter);
  form.set("include_query_vectors", "true");
  return call(path, { method: "POST", body: form, signal });
}
