// --- what is asked: settings, facets, history ---

const HISTORY = "latewood-asked";
const REMEMBERED = 20;
const FACETS = ["kind", "language"];
const MOST_FACETS = 6;
const MOST_VALUES = 6;

/** Return the fusion that the controls of one setting ask for; null where the collection's own is chosen. */
function fusionBody(fields, suffix) {
  const method = fields[`method${suffix}`].value;
  if (!method) return null;
  const [dense, bm25] = [Number(fields[`dense${suffix}`].value), Number(fields[`bm25${suffix}`].value)];
  const own = state.own.get(suffix);
  const constant = own?.method === method && own.k ? { k: own.k } : {};
  return { method, ...constant, weights: { dense, bm25 } };
}

/** Show one leg's weight in its slider and next to its label; "–" while it is not known. */
function showWeight(leg, suffix, weight) {
  if (weight !== undefined) $(`${leg}${suffix}`).value = weight;
  $(`${leg}${suffix}-shown`).textContent = weight === undefined ? "–" : String(weight);
}

/** Show the weights in force of one setting. Disable the controls that change nothing in its mode. */
function showWeights(suffix) {
  const fields = $("search").elements;
  const own = state.own.get(suffix);
  const chosen = fields[`method${suffix}`].value !== "";
  const hybrid = fields[`mode${suffix}`].value === "hybrid";
  fields[`method${suffix}`].disabled = !hybrid;
  for (const leg of Object.keys(LEGS)) {
    fields[`${leg}${suffix}`].disabled = !hybrid || !(chosen || own);
    showWeight(leg, suffix, chosen ? Number(fields[`${leg}${suffix}`].value) : own?.weights[leg]);
  }
}

/** A method chosen by hand starts at its own weights where the collection uses it, else at equal ones. */
function startWeights(suffix) {
  const method = $(`method${suffix}`).value;
  const own = state.own.get(suffix);
  if (!method) return;
  for (const leg of Object.keys(LEGS)) showWeight(leg, suffix, own?.method === method ? own.weights[leg] : 1);
}

/** Remember the fusion of the collection, as an answer reports it, and show its weights. */
function learnFusion(suffix, body, answer) {
  if (!body.fusion && answer.fusion) state.own.set(suffix, answer.fusion);
  showWeights(suffix);
}

/** Facets that are chosen, as a filter: any of the values of each key. */
function filtersBody() {
  const filters = [...state.chosen].map(([key, values]) => ({ type: "in", key, value: [...values] }));
  return filters.length ? { type: "and", filters } : null;
}

function searchBody(suffix = "") {
  const fields = $("search").elements;
  const fusion = fusionBody(fields, suffix);
  const filters = filtersBody();
  return {
    query: fields.query.value,
    mode: fields[`mode${suffix}`].value,
    limit: Number(fields.limit.value),
    collection: fields.collection.value,
    group_by: fields.group.value || null,
    expand: { before: 1, after: 1 },
    highlight: true,
    explain: true,
    ...(fusion && { fusion }),
    ...(filters && { filters }),
  };
}

/** A setting in a few words, for the head of its column. */
function settingName(body) {
  if (body.mode !== "hybrid" || !body.fusion) return body.mode;
  const { method, weights } = body.fusion;
  return `${body.mode}, ${method}, dense ${weights.dense}, BM25 ${weights.bm25}`;
}

async function search(body, second = null) {
  $("status").textContent = "Searching…";
  $("results").setAttribute("aria-busy", "true");
  const signal = supersede("search");
  state.asked = body; // at once: a setting that changes before the answer asks again
  const headers = { "Content-Type": "application/json" };
  const ask = (asked) => api("search", { method: "POST", headers, body: JSON.stringify(asked), signal });
  const done = await attempt($("search-error"), async () => {
    const [one, other] = await Promise.all([ask(body), second && ask(second)]);
    learnFusion("", body, one);
    if (second) learnFusion("-b", second, other);
    showResults({ ...one, grouped: body.group_by === "document" }, other, [body, second ?? body].map(settingName));
  });
  if (signal.aborted) return;
  if (!done) {
    state.asked = null;
    clearResults();
  }
  $("results").removeAttribute("aria-busy");
  if (done) {
    remember(body.query);
    await loadFacets();
  }
}

/** Ask what the controls say now. */
function askNow() {
  return search(searchBody(), $("compare").checked ? searchBody("-b") : null);
}

// --- facets ---

/** Keys worth narrowing by: the built-in ones and those of the metadata of what was found. */
function facetKeys(results) {
  const plain = (value) => ["string", "boolean", "number"].includes(typeof value) || Array.isArray(value);
  const found = results.flatMap((hit) => Object.entries(hit.metadata)).filter(([, value]) => plain(value));
  return [...new Set([...state.chosen.keys(), ...FACETS, ...found.map(([key]) => key)])].slice(0, MOST_FACETS);
}

/** Count each key's values among the documents that the other keys' choices leave. */
async function fetchFacet(key, signal) {
  const others = [...state.chosen].filter(([name]) => name !== key);
  const filters = others.map(([name, values]) => ({ type: "in", key: name, value: [...values] }));
  const more = filters.length ? { filters: JSON.stringify({ type: "and", filters }) } : {};
  return api(inCollection("facets", { key, limit: MOST_VALUES, ...more }), { signal });
}

/** Whether a key's values tell documents apart in a way that helps: not one value for all, nor each its own. */
const tells = ({ values, distinct }) => distinct > 1 && values.some(({ documents }) => documents > 1);

/** Show what there is to narrow by; looked up only while it is open. */
async function loadFacets() {
  const told = [...state.chosen].map(([key, values]) => `${key} ${[...values].map(valueName).join(" or ")}`);
  $("narrowed").textContent = told.length ? `Narrowed to ${told.join(", ")}` : "Narrow the search";
  $("narrow").hidden = state.hits.length === 0 && told.length === 0;
  if (!$("narrow").open) return;
  const signal = supersede("facets");
  const keys = facetKeys(state.hits);
  await attempt($("search-error"), async () => {
    const found = await Promise.all(keys.map((key) => fetchFacet(key, signal)));
    const rows = found.filter((one) => tells(one) || state.chosen.has(one.key)).map(facetRow);
    $("facets").replaceChildren(...(rows.length ? rows : ["All documents are alike here."]));
  });
}

const valueName = (value) => (value === "" ? "none" : String(value));

function facetRow({ key, values }) {
  const buttons = values.map(({ value, documents }) => {
    const pressed = state.chosen.get(key)?.has(value) ?? false;
    const button = el("button", { type: "button", "aria-pressed": String(pressed) }, `${valueName(value)} (${documents})`);
    button.addEventListener("click", () => choose(key, value));
    return button;
  });
  return el("div", { role: "group", "aria-label": key }, el("span", {}, key), ...buttons);
}

async function choose(key, value) {
  const values = state.chosen.get(key) ?? new Set();
  if (!values.delete(value)) values.add(value);
  if (values.size) state.chosen.set(key, values);
  else state.chosen.delete(key);
  await askNow();
  const row = [...$("facets").children].find((each) => each.getAttribute("aria-label") === key);
  [...(row?.querySelectorAll("button") ?? [])].find((each) => each.textContent.startsWith(`${valueName(value)} (`))?.focus();
}

// --- history ---

const asked = () => JSON.parse(kept(localStorage, HISTORY) ?? "[]");

/** Keep a question, in the list that the field offers and in the browser's own history. */
function remember(query) {
  const all = [query, ...asked().filter((other) => other !== query)].slice(0, REMEMBERED);
  kept(localStorage, HISTORY, JSON.stringify(all));
  const here = new URLSearchParams(location.hash.slice(1)).get("q");
  if (here !== query) history.pushState(null, "", `#${new URLSearchParams({ q: query })}`);
  showHistory();
}

function showHistory() {
  const all = asked();
  $("asked-before").replaceChildren(...all.map((query) => el("option", { value: query })));
  $("forget").hidden = all.length === 0;
}

function forget() {
  kept(localStorage, HISTORY, null);
  showHistory();
  $("query").focus();
}

/** Ask the question that the address names: after going back, or with a link that was kept. */
async function askFromAddress() {
  const query = new URLSearchParams(location.hash.slice(1)).get("q");
  if (!query || (query === state.asked?.query && query === $("query").value)) return;
  $("query").value = query;
  await askNow();
}
