// How a picture gets here: chosen, dropped or pasted. What cannot be one is said in words before anything is sent.
import { useEffect, useState } from "./vendor/htm-preact.module.js";

const MAX_BYTES = 20_000_000;
const REDRAWN_SIDE = 2560; // Pixels of the longer side: ten times what the embedder looks at.

const megabytes = (file) => `${(file.size / 1e6).toFixed(1)} MB`;

/** The picture as a JPEG of at most 2,560 pixels a side, upright, on white; null where this browser cannot draw it. */
export async function redrawn(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
    const scale = Math.min(1, REDRAWN_SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    return blob && new File([blob], file.name, { type: "image/jpeg" });
  } catch {
    return null;
  } finally {
    bitmap?.close();
  }
}

/** {file, name, note} to search with, or {problem}: one line for a person. */
export async function prepared(file) {
  const name = file.name || "Pasted picture";
  if (file.size === 0) return { problem: `${name} is empty. Choose another picture.` };
  if (file.size <= MAX_BYTES) return { file, name };
  const smaller = await redrawn(file);
  if (smaller && smaller.size <= MAX_BYTES) return { file: smaller, name, note: `${name} is ${megabytes(file)}, so a smaller copy of it is searched with.` };
  return { problem: `${name} is ${megabytes(file)}. Pictures may have up to 20 MB, and this browser cannot scale this one down.` };
}

/** What was dropped or pasted, as {file, note}, or {problem}. */
function sorted(transfer) {
  const items = [...(transfer.items ?? [])].filter((item) => item.kind === "file");
  const isFolder = (item) => Boolean(item.webkitGetAsEntry?.()?.isDirectory);
  const folders = items.filter(isFolder).length;
  const files = items.length ? items.filter((item) => !isFolder(item)).map((item) => item.getAsFile()).filter(Boolean) : [...transfer.files];
  const file = files.find((one) => one.type.startsWith("image/")) ?? files[0];
  if (file) {
    const all = files.length + folders;
    return { file, note: all > 1 ? `${all} things came at once; ${file.name} is searched with.` : "" };
  }
  if (folders) return { problem: "That is a folder. Drop one picture; lookalike ingest adds a folder to a collection." };
  return { problem: "That is a link, not a file. Save the picture, then drop or choose the file." };
}

const isEditable = (element) => element instanceof Element && Boolean(element.closest("input, textarea, select, [contenteditable]"));

/** Pictures pasted or dropped anywhere on the page are given to `take({file, note} | {problem})`; whether one is just over it. */
export function useDropAndPaste(take) {
  const [isOver, setOver] = useState(false);
  useEffect(() => {
    const isForField = (event) => isEditable(event.target) && !event.dataTransfer.types.includes("Files");
    const listeners = {
      paste: (event) => {
        const data = event.clipboardData;
        if (!data?.files.length) return;
        if (isEditable(event.target) && data.types.includes("text/plain")) return; // Copied text that brings a picture of itself.
        event.preventDefault();
        take(sorted(data));
      },
      dragover: (event) => {
        if (isForField(event)) return;
        event.preventDefault();
        setOver(true);
      },
      dragleave: (event) => { if (!event.relatedTarget) setOver(false); },
      drop: (event) => {
        if (isForField(event)) return;
        event.preventDefault(); // The browser would leave the page for what was dropped.
        setOver(false);
        const types = event.dataTransfer.types;
        if (types.includes("Files") || types.includes("text/uri-list")) take(sorted(event.dataTransfer));
      },
    };
    for (const [name, listener] of Object.entries(listeners)) window.addEventListener(name, listener);
    return () => { for (const [name, listener] of Object.entries(listeners)) window.removeEventListener(name, listener); };
  }, [take]);
  return isOver;
}
