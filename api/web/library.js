// --- documents ---

const inCollection = (path, more = {}) =>
  `${path}?${new URLSearchParams({ collection: $("collection").value, ...more })}`;

function documentItem(found) {
  const name = nameOf(found);
  const button = el("button", { type: "button", "aria-label": `Remove ${name}` }, "Remove");
  button.addEventListener("click", () => removeDocument(found.id, name));
  const told = `${place(found.uri)} · ${plural(found.chunks, "passage")}`;
  const text = el("div", {}, el("div", { dir: "auto" }, name), el("p", { class: "quiet", dir: "auto" }, told));
  return el("li", {}, text, button);
}

/** A collection that does not exist yet is an empty one. */
async function fetchDocuments(more, signal) {
  try {
    return await api(inCollection("documents", { limit: PAGE, order: "newest", ...more }), { signal });
  } catch (error) {
    if (error.code === "collection_not_found") return { documents: [], next_cursor: null };
    throw error;
  }
}

/** Show the first documents, or with a cursor the next ones below. */
async function loadDocuments(cursor = null) {
  const signal = supersede("documents");
  await attempt($("library-error"), async () => {
    const page = await fetchDocuments(cursor ? { cursor } : {}, signal);
    const items = page.documents.map(documentItem);
    if (cursor) $("documents").append(...items);
    else $("documents").replaceChildren(...items);
    if (cursor) items[0]?.querySelector("button").focus();
    state.cursor = page.next_cursor;
    $("more-documents").hidden = page.next_cursor === null;
    showEmpty($("documents").childElementCount === 0);
  });
}

/** Say how to begin, with the collection that is meant. */
function showEmpty(empty) {
  const collection = $("collection").value;
  const option = collection === "default" ? "" : ` --collection ${collection}`;
  $("begin").textContent = `latewood ingest FOLDER${option}`;
  $("empty").hidden = !empty;
  if (empty) clearResults();
}

async function removeDocument(id, name) {
  const warning = `Remove “${name}”? It stops answering at once. A folder's file comes back with its next ingest.`;
  if (!confirm(warning)) return;
  const path = inCollection(`documents/${encodeURIComponent(id)}`);
  if (!(await attempt($("library-error"), () => api(path, { method: "DELETE" })))) return;
  $("library-status").textContent = `Removed ${name}.`;
  $("library-title").focus();
  await loadDocuments();
  if (state.asked && $("empty").hidden) await askNow();
}

// --- uploads ---

/** How an ended job is told: [went well, words]. */
function outcome(job) {
  if (job.status !== "completed") return [false, job.error?.message ?? job.status];
  const [problem] = [...job.errors, ...job.skipped];
  if (problem) return [false, problem.message || problem.code];
  const word = ["added", "updated"].find((count) => job.counts[count]);
  return [true, word ?? "unchanged"];
}

async function ended(id) {
  for (;;) {
    const job = await api(`jobs/${encodeURIComponent(id)}`);
    if (FINAL.includes(job.status)) return job;
    await new Promise((resume) => setTimeout(resume, POLL_MS));
  }
}

/** Follow the jobs in the order they were queued, one at a time: that is how they run. */
async function follow(jobs, names) {
  let good = 0;
  for (const [index, id] of jobs.entries()) {
    $("library-status").textContent = `Reading ${index + 1} of ${jobs.length}: ${names[index]}`;
    const [well, told] = outcome(await ended(id));
    good += well;
    $("uploads").append(el("li", { dir: "auto" }, `${well ? "✓" : "✗"} ${names[index]}: ${told}`));
    $("progress").value = index + 1;
  }
  const bad = jobs.length - good;
  $("library-status").textContent =
    `${plural(good, "file")} can be searched` + (bad ? `, ${plural(bad, "file")} could not be read.` : ".");
}

/** Send a form; `told` hears what part of it is sent. `fetch` does not say. */
function send(path, body, told) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(keyHeader())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => event.lengthComputable && told(event.loaded / event.total));
    request.addEventListener("error", () =>
      reject(new ApiError("unreachable", "The service does not answer. Is `latewood serve` still running?")));
    request.addEventListener("load", () => {
      const good = request.status >= 200 && request.status < 300;
      if (good) resolve(JSON.parse(request.responseText));
      else reject(errorFrom(request, request.responseText));
    });
    request.send(body);
  });
}

async function upload(files) {
  const body = new FormData();
  for (const file of files) body.append("files", file);
  const names = files.map((file) => file.name);
  Object.assign($("progress"), { max: 1, value: 0, hidden: false });
  $("uploads").replaceChildren();
  $("library-status").textContent = `Sending ${plural(files.length, "file")}…`;
  const accepted = await send(inCollection("documents"), body, (part) => {
    $("progress").value = part;
    $("library-status").textContent = `Sending ${plural(files.length, "file")}: ${Math.round(100 * part)} %`;
  });
  $("upload").reset();
  Object.assign($("progress"), { max: files.length, value: 0 });
  loadJobs();
  await follow(accepted.job_ids, names);
}

async function takeFiles(files) {
  if (state.uploading || !files.length) return;
  state.uploading = true;
  const collection = $("collection").value;
  const done = await attempt($("library-error"), () => upload(files));
  state.uploading = false;
  $("progress").hidden = true;
  if (!done) $("library-status").textContent = "";
  await loadCollections();
  await loadJobs();
  if (done && $("collection").value === collection) await loadDocuments();
}

function onUpload(event) {
  event.preventDefault();
  takeFiles([...$("files").files]);
}

/** Files may be dropped anywhere on the page; its library shows that it takes them. */
function onDrag(event) {
  if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
  event.preventDefault();
  $("library").classList.toggle("over", event.type === "dragover");
  if (event.type === "drop") {
    $("library").scrollIntoView();
    takeFiles([...event.dataTransfer.files]);
  }
}

// --- collections ---

/** Fill the select; `default` is always offered, and chosen at the start unless only others exist. */
async function loadCollections(chosen = $("collection").value) {
  await attempt($("search-error"), async () => {
    const { collections } = await api("collections");
    const names = collections.includes("default") ? collections : [...collections, "default"];
    const first = collections.includes("default") ? "default" : names[0];
    $("collection").replaceChildren(...names.map((name) => el("option", { value: name }, name)));
    $("collection").value = names.includes(chosen) ? chosen : first;
  });
}

async function onCollection() {
  supersede("search");
  state.asked = null;
  state.chosen.clear();
  state.own.clear();
  showWeights("");
  showWeights("-b");
  $("narrow").hidden = true;
  clearResults();
  $("search-error").textContent = "";
  await loadDocuments();
}

