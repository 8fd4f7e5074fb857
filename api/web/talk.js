// What a document says reaches the page as text nodes only; no string ever becomes markup.

const LEGS = { dense: "Dense", bm25: "BM25" };
const FINAL = ["completed", "failed", "cancelled"];
const POLL_MS = 500;
const PAGE = 20;
const $ = (id) => document.getElementById(id);
const KEY = "latewood-key";
const state = { asked: null, cursor: null, uploading: false, chosen: new Map(), own: new Map(), hits: [] };

/** What the browser keeps for us, or nothing where it keeps nothing. */
function kept(storage, name, value) {
  try {
    if (value === undefined) return storage.getItem(name);
    if (value === null) storage.removeItem(name);
    else storage.setItem(name, value);
  } catch {
    // A browser that stores nothing forgets: the page works without.
  }
  return null;
}

const keyHeader = () => {
  const key = kept(sessionStorage, KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
};

// --- talking to the service ---

/** An answer that is an error, in the service's own words. */
class ApiError extends Error {
  constructor(code, message, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** Send a request and return its JSON (null where there is none). */
async function api(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, ...keyHeader() } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("unreachable", "The service does not answer. Is `latewood serve` still running?");
  }
  const text = await response.text();
  if (!response.ok) throw errorFrom(response, text);
  return text ? JSON.parse(text) : null;
}

function errorFrom(response, text) {
  const fallback = `The service answered ${response.status} ${response.statusText}`.trim() + " without saying why.";
  try {
    const { code, message } = JSON.parse(text).error;
    return new ApiError(code, message || fallback, response.status);
  } catch {
    return new ApiError("unknown", fallback, response.status);
  }
}

/** Ask for a key. Every part of the page needs one, so the reason is shown once, here; a first visit has none. */
function askForKey(reason) {
  $("key-form").hidden = false;
  $("key-error").textContent = kept(sessionStorage, KEY) ? reason : "";
}

const running = new Map();

/** A signal for a new request of this kind. The one before it is given up, so a late answer never replaces a newer one. */
function supersede(kind) {
  running.get(kind)?.abort();
  const controller = new AbortController();
  running.set(kind, controller);
  return controller.signal;
}

/** Run a task; what the service refuses is said in `place`. */
async function attempt(place, task) {
  place.textContent = "";
  try {
    await task();
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) askForKey(error.message);
    else place.textContent = error.message;
    return false;
  }
}

// --- building the page ---

/** An element; strings among the children become text. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const plural = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;

/** Three significant digits, as people read them. */
function short(number) {
  return Math.abs(number) >= 1000 ? String(Math.round(number)) : number.toPrecision(3);
}

/** A uri as people read it: percent-decoded (bytes that are not UTF-8 show as U+FFFD), without file://. */
function place(uri) {
  const bytes = (run) => Uint8Array.from(run.slice(1).split("%"), (pair) => parseInt(pair, 16));
  const decoded = uri.replace(/(?:%[0-9a-f]{2})+/gi, (run) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes(run)));
  return decoded.replace(/^file:\/\//, "");
}

const nameOf = (item) => item.title || place(item.uri).split("/").pop();

function pages(hit) {
  if (hit.page_start === null) return "";
  return hit.page_end === hit.page_start ? `page ${hit.page_start}` : `pages ${hit.page_start}–${hit.page_end}`;
}

