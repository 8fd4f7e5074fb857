// --- keyboard ---

const typing = (target) => target.matches("input, select, textarea");

/** Move between results: `step` 1 is the next, -1 the one before. */
function moveFocus(step) {
  const items = [...$("results").children];
  const here = items.findIndex((item) => item.contains(document.activeElement));
  items[Math.min(Math.max(here + step, 0), items.length - 1)]?.focus();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const target = document.activeElement ?? document.body;
  if (event.key === "/" && !typing(target)) {
    $("query").focus();
    $("query").select();
  } else if (event.key === "ArrowDown" && target === $("query")) {
    moveFocus(1);
  } else if ((event.key === "j" || event.key === "k") && $("results").contains(target)) {
    moveFocus(event.key === "j" ? 1 : -1);
  } else {
    return;
  }
  event.preventDefault();
}

// --- start ---

function onSearch(event) {
  event.preventDefault();
  askNow();
}

/** Ask the same question again with the changed setting. A moved slider chooses the method in force by name. */
function onSetting({ target }) {
  const suffix = target.id.endsWith("-b") ? "-b" : "";
  const method = $(`method${suffix}`);
  if (target.type === "range" && !method.value) method.value = state.own.get(suffix).method;
  if (target === method) startWeights(suffix);
  showWeights(suffix);
  $("second").hidden = !$("compare").checked;
  if (state.asked && $("query").value.trim()) $("search").requestSubmit();
}

async function onKeyGiven(event) {
  event.preventDefault();
  kept(sessionStorage, KEY, $("key").value.trim());
  $("key-form").reset();
  $("key-form").hidden = true;
  $("key-error").textContent = "";
  await load();
  $("query").focus();
}

async function load() {
  await loadCollections("");
  await loadDocuments();
  await loadJobs();
  if (!state.asked) await askFromAddress(); // a question that was asked meanwhile is not replaced
}

async function start() {
  const settings = ["mode", "group", "method", "dense", "bm25", "compare", "mode-b", "method-b", "dense-b", "bm25-b"];
  $("search").addEventListener("submit", onSearch);
  for (const id of settings) $(id).addEventListener("change", onSetting);
  $("collection").addEventListener("change", onCollection);
  $("upload").addEventListener("submit", onUpload);
  $("key-form").addEventListener("submit", onKeyGiven);
  $("narrow").addEventListener("toggle", loadFacets);
  $("forget").addEventListener("click", forget);
  $("more-documents").addEventListener("click", () => loadDocuments(state.cursor));
  for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, onDrag);
  document.addEventListener("keydown", onKey);
  window.addEventListener("popstate", askFromAddress);
  showHistory();
  showWeights("");
  showWeights("-b");
  $("query").focus();
  await load();
}

start();
