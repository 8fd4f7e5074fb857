// --- jobs ---

const JOBS_SHOWN = 10;
const JOBS_MS = 1000;

/** How far a job is, or how it ended, in a line. */
function jobLine(job) {
  const { counts, error } = job;
  const done = ["added", "updated", "unchanged", "deleted"].filter((name) => counts[name]);
  const kind = job.dry_run ? ["dry run, nothing is changed"] : [];
  const parts = [...kind, job.status.replace("_", " "), ...done.map((name) => `${counts[name]} ${name}`)];
  if (counts.total > 1) parts.push(`${counts.finished} of ${counts.total} files`);
  if (job.errors.length) parts.push(`${plural(job.errors.length, "file")} failed`);
  if (error) parts.push(error.message);
  return `${parts.join(" · ")} · ${job.collection}`;
}

function jobItem(job) {
  const name = place(job.source);
  const text = el("div", {}, el("div", { dir: "auto" }, name), el("p", { class: "quiet", dir: "auto" }, jobLine(job)));
  const item = el("li", {}, text);
  if (!FINAL.includes(job.status)) {
    const button = el("button", { type: "button", "aria-label": `Cancel ${name}` }, "Cancel");
    button.addEventListener("click", () => cancelJob(job.id));
    item.append(button);
  }
  return item;
}

/** Show the newest jobs, and again while one of them goes on. */
async function loadJobs() {
  const signal = supersede("jobs");
  await attempt($("jobs-error"), async () => {
    const { jobs } = await api("jobs", { signal });
    const shown = jobs.slice(0, JOBS_SHOWN);
    $("jobs").replaceChildren(...shown.map(jobItem));
    $("jobs-none").hidden = shown.length > 0;
    if (shown.some((job) => !FINAL.includes(job.status))) {
      setTimeout(() => signal.aborted || loadJobs(), JOBS_MS);
    }
  });
}

async function cancelJob(id) {
  await attempt($("jobs-error"), () => api(`jobs/${encodeURIComponent(id)}/cancel`, { method: "POST" }));
  await loadJobs();
}
