// Pictures searched with, kept in this browser so that Back, Forward and a reload find them: the last twenty, for a day. They are
// kept by IndexedDB, and in memory alone where a browser refuses that.
const MOST = 20;
const DAY_MS = 24 * 60 * 60 * 1000;
const STORE = "pictures";

const memory = new Map();

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("lookalike", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "key" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

/** The result of `work(store)`, an IndexedDB request, once its transaction is complete. */
async function within(mode, work) {
  const database = await opened();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

const isOld = (picture) => Date.now() - picture.at > DAY_MS;

/** Keep {file, name}; the key that finds it again. */
export function keep({ file, name }) {
  const key = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const picture = { key, file, name, at: Date.now() };
  memory.set(key, picture);
  if (memory.size > MOST) memory.delete(memory.keys().next().value);
  store(picture).catch(() => {}); // A private window, or no room: memory has it until the page is left.
  return key;
}

async function store(picture) {
  const all = await within("readonly", (pictures) => pictures.getAll());
  const latest = all.sort((a, b) => b.at - a.at);
  const gone = latest.filter((one, index) => index >= MOST - 1 || isOld(one));
  await within("readwrite", (pictures) => {
    for (const one of gone) pictures.delete(one.key);
    pictures.put(picture);
  });
}

/** What `keep` gave `key` for, where this page has it in memory; else undefined. */
export const remembered = (key) => memory.get(key);

/** The same from this browser's store; null where it is not, or no longer, there. */
export async function recall(key) {
  try {
    const picture = await within("readonly", (pictures) => pictures.get(key));
    if (!picture || isOld(picture)) return null;
    memory.set(key, picture);
    return picture;
  } catch {
    return null;
  }
}
