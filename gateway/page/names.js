// What an image is called and where it lies, in words that fit and cannot mislead, from what people said of it.
import { html } from "./vendor/htm-preact.module.js";

const TITLES = ["title", "name", "caption"]; // Keys of metadata that name one picture. A label names many, and comes after the file.
const LONGEST = 400; // Characters of a name that are shown or read out at all: metadata may have 16 KB.
const TAIL = 15; // Characters kept at the end of a shortened name: the number and the suffix of a file are there.
// Characters that are not seen and can turn the order of others around; joiners stay, which scripts and emoji are written with.
const UNSEEN = /[\p{Cc}\p{Zl}\p{Zp}]|(?![\u200c\u200d\u{e0020}-\u{e007f}])\p{Cf}/gu;
const SEEN = /[\p{L}\p{N}\p{P}\p{S}]/u;

const segmenter = globalThis.Intl?.Segmenter && new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** What a person sees as characters: an emoji of several code points is one. */
const characters = (text) => (segmenter ? Array.from(segmenter.segment(text), (part) => part.segment) : Array.from(text));

/** `text` on one line and without what is not seen; "" where nothing is left to see. */
function clean(text) {
  const line = text.slice(0, 20 * LONGEST).replace(/\s+/gu, " ").replace(UNSEEN, "").trim();
  return SEEN.test(line) ? characters(line).slice(0, LONGEST).join("") : "";
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // A "%" that begins nothing, as in a path that was never encoded.
  }
}

const withDigits = (_key, value) => (typeof value === "bigint" ? JSON.rawJSON(String(value)) : value); // See `exact` in api.js.

/** A metadata value as text. */
export const shown = (value) => clean(value !== null && typeof value === "object" ? JSON.stringify(value, withDigits) : String(value));

/** {file, folder} of a URI, decoded: the last part of its path, and the parts before it. "" for what is not there. */
export function partsOf(uri) {
  const chained = uri.startsWith("tar://") ? uri.lastIndexOf("::") : -1; // tar://MEMBER::ARCHIVE
  if (chained >= 0) {
    const member = partsOf(uri.slice("tar://".length, chained));
    return { file: member.file, folder: [partsOf(uri.slice(chained + 2)).file, member.folder].filter(Boolean).join("/") };
  }
  const [, scheme = "", rest] = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(.*)$/isu.exec(uri);
  if (/^artifact$/iu.test(scheme)) return { file: "", folder: "" }; // An upload that nobody named: it lies under its hash.
  const isWeb = /^https?$/iu.test(scheme);
  const [path, query = ""] = isWeb ? rest.split("#", 1)[0].split(/\?(.*)/su) : [rest];
  const parts = path.split("/").filter(Boolean).map((part) => clean(decoded(part)));
  const file = isWeb && parts.length === 1 ? "" : parts.pop() ?? ""; // Of an address without a path only the host is left.
  // Where an address names no file, its query distinguishes pictures.
  return { file: query && !file.includes(".") ? `${file}?${clean(decoded(query))}` : file, folder: parts.join("/") };
}

/** Where an image lies, for reading: a path from its root, or an address without its scheme. "" where nobody said. */
export function placeOf(uri) {
  const { file, folder } = partsOf(uri);
  return `${uri.startsWith("/") || uri.startsWith("file:///") ? "/" : ""}${[folder, file].filter(Boolean).join("/")}`;
}

/** The best name that people gave: a title, the file's name, a label; where there is none, the id. */
export function nameOf(image) {
  const said = (key) => (["string", "number", "bigint"].includes(typeof image.metadata[key]) ? shown(image.metadata[key]) : "");
  return TITLES.map(said).find(Boolean) || partsOf(image.uri).file || said("label") || clean(image.id) || "Picture without a name";
}

const WIDE = /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}]/u; // Two letters' room.
const widthOf = (character) => (WIDE.test(character) ? 2 : 1);

/** The characters from the beginning of `all` that fit into `room` letters. */
function fitting(all, room) {
  let left = room;
  return all.slice(0, all.findIndex((character) => (left -= widthOf(character)) < 0));
}

/** `text` in the room of at most `most` letters: its beginning and its end where it needs more. */
export function shortened(text, most) {
  const all = characters(text);
  if (all.reduce((sum, character) => sum + widthOf(character), 0) <= most) return text;
  const end = fitting([...all].reverse(), TAIL).reverse();
  return `${fitting(all, most - TAIL - 1).join("").trimEnd()}…${end.join("").trimStart()}`;
}

/** With places to break a line at, before the suffix above all. */
const breakable = (text) => text.split(/(?=[._-])/u).map((part, index) => (index ? html`<wbr />${part}` : part));

/** A name on the page: shortened in the middle, whole while the pointer or the focus is on it. Written in its own direction. */
export function Name({ text, most = 36 }) {
  const short = shortened(text, most);
  if (short === text) return html`<bdi class="name">${breakable(text)}</bdi>`;
  return html`<bdi class="name short">${breakable(short)}</bdi><bdi class="whole" aria-hidden="true">${text}</bdi>`;
}
