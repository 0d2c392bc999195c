// What the page's address says, and its history: the one place that knows what is asked. Back and Forward change it, all else follows.
import { useCallback, useEffect, useState } from "./vendor/htm-preact.module.js";

const KEYS = ["collection", "image", "picture", "filter"];

/** {collection, image, picture, filter}: names; `image` is the id of a stored one, `picture` the key of one kept here (kept.js). */
function read() {
  const said = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(KEYS.map((key) => [key, said.get(key) ?? ""]));
}

function write(address, replace) {
  const said = new URLSearchParams(KEYS.filter((key) => address[key]).map((key) => [key, address[key]]));
  const hash = `#${said}`;
  if (hash === location.hash || (hash === "#" && !location.hash)) return;
  history[replace ? "replaceState" : "pushState"](null, "", hash);
}

/** The address, and `go(change)`, which makes an entry in the history, or with `{replace: true}` alters the present one. */
export function useAddress() {
  const [address, setAddress] = useState(read);
  useEffect(() => {
    const restore = () => setAddress(read());
    window.addEventListener("popstate", restore);
    return () => window.removeEventListener("popstate", restore);
  }, []);
  const go = useCallback((change, { replace = false } = {}) => {
    const next = { ...read(), ...change };
    write(next, replace);
    setAddress(next);
  }, []);
  return [address, go];
}
