// --- results ---

/** The contributions drawn to one scale for the whole list: full width is the best hit's sum. */
function bar(legs, full) {
  const parts = legs.map(([name, leg]) => {
    const part = el("span", { class: name });
    part.style.width = `${(100 * Math.max(0, leg.contribution)) / full}%`;
    return part;
  });
  return el("div", { class: "bar", "aria-hidden": "true" }, ...parts);
}

function legLine(name, leg) {
  const label = LEGS[name] ?? name;
  const told = leg
    ? `${label}: rank ${leg.rank}, score ${short(leg.score)}, adds ${short(leg.contribution)}`
    : `${label}: not found`;
  return el("li", {}, el("span", { class: `swatch ${name}`, "aria-hidden": "true" }), told);
}

/** The legs that were asked, in a fixed order; [name, undefined] where a leg did not find the hit. */
function legsOf(hit, mode) {
  const found = hit.explain.legs;
  const names = new Set([...(mode === "hybrid" ? Object.keys(LEGS) : [mode]), ...Object.keys(found)]);
  return [...names].map((name) => [name, found[name]]);
}

function explanation(hit, mode, full) {
  if (!hit.explain) return [];
  const legs = legsOf(hit, mode);
  const lines = legs.map(([name, leg]) => legLine(name, leg));
  return [bar(legs.filter(([, leg]) => leg), full), el("ul", { class: "legs", role: "list" }, ...lines)];
}

/** Text where the query's words are marked and the best sentence is underlined. Offsets count code points. */
function marked(hit) {
  const characters = Array.from(hit.text);
  const first = Array.from(hit.text.match(/^\s*\n/)?.[0] ?? "").length;
  const last = Array.from(hit.text.trimEnd()).length;
  const spans = hit.highlights ?? [];
  const best = hit.sentence ?? { start: 0, end: 0 };
  const cuts = new Set([first, last, ...[best, ...spans].flatMap(({ start, end }) => [start, end])]);
  const bounds = [...cuts].filter((cut) => cut >= first && cut <= last).sort((a, b) => a - b);
  const within = (at, { start, end }) => start <= at && at < end;
  return bounds.slice(1).map((end, index) => {
    const start = bounds[index];
    const text = characters.slice(start, end).join("");
    const piece = spans.some((span) => within(start, span)) ? el("mark", {}, text) : text;
    return within(start, best) ? el("span", { class: "best" }, piece) : piece;
  });
}

/** The text before and after a passage, shown when its button is pressed; nothing where there is none. */
function around(hit, passage) {
  if (!hit.before && !hit.after) return [];
  const parts = [hit.before, hit.after].map((text) => el("div", { class: "around", dir: "auto" }, (text ?? "").trim()));
  const button = el("button", { class: "more", type: "button", "aria-expanded": "false" }, "Show text around");
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!shown));
    button.textContent = shown ? "Show text around" : "Hide text around";
    if (shown) parts.forEach((part) => part.remove());
    else {
      if (hit.before) passage.before(parts[0]);
      if (hit.after) passage.after(parts[1]);
    }
  });
  return [button];
}

/** Where each leg had it and where fusion puts it; with a second setting also where that has it. */
function moves(hit, position, mode, others) {
  const before = legsOf(hit, mode).map(([name, leg]) => `${LEGS[name] ?? name} ${leg ? leg.rank : "–"}`);
  const told = mode === "hybrid" ? [`Rank: ${before.join(", ")} → ${position}`] : [];
  if (others) {
    const there = others.ranks.get(hit.id);
    if (there === undefined) told.push(`${others.name}: not among its first ${others.ranks.size}`);
    else if (there === position) told.push(`${others.name}: the same`);
    else told.push(`${others.name}: ${there} ${there > position ? "▲" : "▼"}`);
  }
  return told.length ? [el("p", { class: "moved" }, told.join(" · "))] : [];
}

function result(hit, position, mode, full, others) {
  const where = [place(hit.uri), pages(hit)].filter(Boolean).join(" · ");
  const title = el("h3", { dir: "auto" }, `${position}. ${nameOf(hit)}`);
  const score = el("span", { class: "score quiet" }, `score ${short(hit.score)}`);
  const item = el("li", { class: "panel", tabindex: "-1" }, el("div", { class: "top" }, title, score));
  item.append(el("p", { class: "quiet", dir: "auto" }, where));
  if (hit.headings.length) item.append(el("p", { class: "quiet", dir: "auto" }, hit.headings.join(" › ")));
  const passage = el("div", { class: "passage clamped", dir: "auto" }, ...marked(hit));
  item.append(passage, el("div", { class: "buttons" }, ...around(hit, passage)));
  item.append(...explanation(hit, mode, full), ...moves(hit, position, mode, others));
  return item;
}

/** Give passages that are cut a button that shows the rest; to be called once they are laid out. */
function offerWhole(item) {
  const passage = item.querySelector(".passage");
  if (passage.scrollHeight <= passage.clientHeight + 1) return;
  const button = el("button", { class: "more", type: "button", "aria-expanded": "false" }, "Show whole passage");
  button.addEventListener("click", () => {
    const clamped = passage.classList.toggle("clamped");
    button.setAttribute("aria-expanded", String(!clamped));
    button.textContent = clamped ? "Show whole passage" : "Show less";
  });
  item.querySelector(".buttons").prepend(button);
}

const contributed = (hit) =>
  Object.values(hit.explain?.legs ?? {}).reduce((sum, leg) => sum + Math.max(0, leg.contribution), 0);

const ranksOf = (answer) => new Map(answer.results.map((hit, index) => [hit.id, index + 1]));

function fill(list, answer, others) {
  const full = Math.max(...answer.results.map(contributed)) || 1;
  const items = answer.results.map((hit, index) => result(hit, index + 1, answer.mode, full, others));
  list.replaceChildren(...items);
  items.forEach(offerWhole);
}

/** Show one answer, or two side by side, each saying where the other has its passages. */
function showResults(answer, second = null, names = []) {
  $("second-column").hidden = $("first-title").hidden = !second;
  document.body.classList.toggle("wide", Boolean(second));
  [$("first-title").textContent, $("second-title").textContent] = second ? names : ["", ""];
  fill($("results"), answer, second && { name: "second", ranks: ranksOf(second) });
  if (second) fill($("results-b"), second, { name: "first", ranks: ranksOf(answer) });
  state.hits = answer.results;
  const found = answer.results.length;
  $("results-title").hidden = found === 0;
  $("status").textContent = found
    ? `${plural(found, answer.grouped ? "document" : "passage")} in ${short(answer.took_ms.total)} ms`
    : "No passage found. Try other words or another mode.";
}

function clearResults(told = "") {
  $("results").replaceChildren();
  $("results-b").replaceChildren();
  $("second-column").hidden = $("first-title").hidden = true;
  document.body.classList.remove("wide");
  $("results-title").hidden = true;
  $("status").textContent = told;
}
