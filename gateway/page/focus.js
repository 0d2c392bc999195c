// Where the focus goes when what had it is gone: to what took its place, never to the top of the document.
import { useEffect } from "./vendor/htm-preact.module.js";

const INSTEAD = ["#asked", "#choose", "main"];

export function useKeptFocus() {
  useEffect(() => {
    let last = null;
    const note = (event) => { last = event.target; };
    const keep = () => {
      if (!last || last.isConnected || document.activeElement !== document.body) return;
      last = null;
      INSTEAD.map((selector) => document.querySelector(selector)).find(Boolean)?.focus({ preventScroll: true });
    };
    const observer = new MutationObserver(keep);
    observer.observe(document.querySelector("#app"), { childList: true, subtree: true });
    document.addEventListener("focusin", note);
    return () => { observer.disconnect(); document.removeEventListener("focusin", note); };
  }, []);
}
