// The monitor's page. Everything that comes from outside becomes text (textContent), never markup; nothing is asked for
// but our own origin. A view owns its DOM and changes only what changed, so that focus and scrolling stay.
"use strict";

const POLL = 2000; // milliseconds between two polls
const AGAIN = [1000, 2000, 4000, 8000, 15000]; // before the next try for a WebSocket
const POINTS = 600; // of a plot
const main = document.getElementById("main");
const AT_WORK = ["running", "draining", "paused"];

// ---- text

const whole = new Intl.NumberFormat("en");
const count = (n) => (n == null ? "–" : whole.format(n));
const perSecond = (n) => (n == null ? "–" : (n >= 100 ? whole.format(Math.round(n)) : n.toFixed(1)) + "/s");
const plural = (n, one) => `${count(n)} ${one}${n === 1 ? "" : "s"}`;

function size(n) {
  if (n == null) return "–";
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1023.95) return unit === "B" ? `${Math.round(n)} B` : `${n.toFixed(1)} ${unit}`;
    n /= 1024;
  }
  return `${n.toFixed(1)} TiB`;
}

function duration(s) {
  if (s == null) return "–";
  if (s < 9.95) return `${s.toFixed(1)} s`;
  const n = Math.round(s), two = (x) => String(x).padStart(2, "0");
  if (n < 60) return `${n} s`;
  if (n < 3600) return `${Math.floor(n / 60)} m ${two(n % 60)} s`;
  if (n < 48 * 3600) return `${Math.floor(n / 3600)} h ${two(Math.floor((n % 3600) / 60))} m`;
  return `${Math.floor(n / 86400)} d ${Math.floor((n % 86400) / 3600)} h`;
}

const ms = (n) => (n == null ? "–" : n < 10 ? `${n.toFixed(1)} ms` : n < 10000 ? `${count(Math.round(n))} ms` : duration(n / 1000));
const dated = new Intl.DateTimeFormat("en-CA", { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hour12: false });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayed = new Intl.DateTimeFormat("en-CA", { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hour12: false });
const stamp = (s) => (s == null ? "–" : dated.format(s * 1000).replace(",", ""));
const ago = (s) => { const d = Date.now() / 1000 - s; return d < 5 ? "just now" : `${duration(d)} ago`; };

const STATES = { running: "run", draining: "warn", paused: "warn", finished: "good", stopped: "warn", killed: "bad", unreadable: "bad" };

function outcome(view) { // what a person calls it
  if (view.state === "finished" && view.exit_code) return ["finished, failures", "bad"];
  return [view.state, STATES[view.state] || ""];
}

// ---- DOM

function h(tag, given, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given || {})) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function s(tag, given, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given || {})) node.setAttribute(name, value);
  if (text != null) node.textContent = text;
  return node;
}

function say(node, text) { if (node.textContent !== text) node.textContent = text; }
const badge = (text, kind) => h("span", { class: `badge ${kind || ""}` }, text);
const link = (job, run) => `#/job/${encodeURIComponent(job)}${run ? `/run/${encodeURIComponent(run)}` : ""}`;
const api = (job, run, rest) => `/api/jobs/${encodeURIComponent(job)}${run ? `/runs/${encodeURIComponent(run)}` : ""}${rest || ""}`;

function share(view) {
  const known = Math.max(view.known || 0, view.fetched + view.failed + view.skipped, 1);
  const bar = h("div", { class: "share", "aria-hidden": "true" });
  for (const [kind, n] of [["f", view.fetched], ["x", view.failed], ["s", view.skipped]]) {
    const part = h("i", { class: kind });
    part.style.width = `${(100 * n) / known}%`;
    bar.append(part);
  }
  return bar;
}

function section(title, more, ...inside) {
  const heading = h("h2", {}, title);
  heading.id = `h-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return h("section", { "aria-labelledby": heading.id }, h("div", { class: "bar-head" }, heading, ...[].concat(more || [])), ...inside);
}

// A table whose rows are known by a key: what stays is not touched.
class Table {
  constructor(name, columns, { key, tall, sort, empty, down }) {
    Object.assign(this, { columns, key, sort, empty, down: !!down, rows: [], known: new Map() });
    this.body = h("tbody");
    this.heads = columns.map((column) => this.headOf(column));
    const table = h("table", {}, h("caption", {}, name), h("thead", {}, h("tr", {}, ...this.heads)), this.body);
    this.node = h("div", { class: tall ? "scroll tall" : "scroll", tabindex: "0", role: "region", "aria-label": name }, table);
    this.mark();
  }

  headOf(column) {
    const head = h("th", { scope: "col", class: column.n ? "n" : null });
    if (this.sort != null && column.by) {
      head.append(h("button", { type: "button", onclick: () => {
        this.down = this.sort === column.by ? !this.down : !!column.n;
        this.sort = column.by;
        this.mark();
        this.show(this.rows);
      } }, column.name));
    } else if (column.name) head.textContent = column.name;
    else head.append(h("span", { class: "dim" }, column.title || ""));
    return head;
  }

  mark() {
    this.columns.forEach((column, n) => {
      if (this.sort != null && column.by === this.sort) this.heads[n].setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else this.heads[n].removeAttribute("aria-sort");
    });
  }

  sorted(rows) {
    if (this.sort == null) return rows;
    const by = this.sort, way = this.down ? -1 : 1;
    return [...rows].sort((a, b) => {
      const x = a[by], y = b[by];
      if (x == null || y == null) return (x == null) - (y == null); // what is not known comes last
      return (x < y ? -1 : x > y ? 1 : 0) * way;
    });
  }

  show(rows) {
    this.rows = rows;
    const seen = new Map();
    let at = this.body.firstChild;
    for (const row of this.sorted(rows)) {
      const key = this.key(row);
      if (seen.has(key)) continue;
      const line = this.known.get(key) || { node: h("tr"), cells: [] };
      this.fill(line, row);
      seen.set(key, line);
      if (at === line.node) at = at.nextSibling;
      else this.body.insertBefore(line.node, at);
    }
    for (const [key, line] of this.known) if (!seen.has(key)) line.node.remove();
    this.known = seen;
    while (at && ![...seen.values()].some((line) => line.node === at)) { const next = at.nextSibling; at.remove(); at = next; }
    if (!seen.size) this.body.replaceChildren(h("tr", {}, h("td", { class: "empty", colspan: this.columns.length }, this.empty || "Nothing yet.")));
  }

  fill(line, row) {
    this.columns.forEach((column, n) => {
      const cell = line.cells[n] || (line.cells[n] = { node: line.node.appendChild(h("td", { class: [column.n ? "n" : "", column.class || ""].join(" ").trim() || null })) });
      const text = JSON.stringify(column.of(row));
      if (cell.text === text) return;
      cell.text = text;
      const made = column.show ? column.show(row) : column.of(row);
      cell.node.replaceChildren(made == null ? "–" : made);
    });
  }
}

// ---- the rate of a run, drawn

class Plot {
  constructor() {
    this.points = [];
    this.svg = s("svg", { role: "img", "aria-labelledby": "plot-title plot-desc", preserveAspectRatio: "none" });
    this.said = h("p", { class: "plot-said" });
    this.box = h("div", { class: "plot" }, this.svg);
    this.table = new Table("Rate over time", [
      { name: "Time", of: (p) => clock.format(p.at * 1000) },
      { name: "Ends", n: true, of: (p) => perSecond(p.rate) },
      { name: "Bytes", n: true, of: (p) => `${size(p.bytes)}/s` },
      { name: "Settled", n: true, of: (p) => count(p.done) },
      { name: "Failed", n: true, of: (p) => count(p.failed) },
    ], { key: (p) => p.at, tall: true, empty: "No moments yet." });
    this.more = h("details", { ontoggle: () => this.draw() }, h("summary", {}, "The same as a table"), this.table.node);
    this.node = section("Rate", [h("span", { class: "key" }, "ends per second"), h("span", { class: "key bad" }, "failures per second")], this.box, this.said, this.more);
    this.seen = new ResizeObserver(() => this.draw());
    this.seen.observe(this.box);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => { this.hover = null; this.draw(); });
  }

  begin(rows) {
    const later = this.points;
    this.points = rows.map(([at, rate, bytes, done, failed]) => ({ at, rate, bytes, done, failed }));
    for (const point of later) this.add(point);
    this.draw();
  }

  add(point) {
    const last = this.points[this.points.length - 1];
    if (last && point.at <= last.at) return false;
    this.points.push(point);
    if (this.points.length > POINTS) this.points = this.points.filter((_, n) => n % 2 || n > POINTS - 100);
    return true;
  }

  series() { // failures a second, from how many there were
    return this.points.map((point, n) => {
      const before = this.points[n - 1];
      const fails = before && point.at > before.at ? Math.max(0, (point.failed - before.failed) / (point.at - before.at)) : 0;
      return { ...point, fails };
    });
  }

  draw() {
    const wide = this.box.clientWidth - 28, high = this.svg.clientHeight || 180;
    if (wide <= 0) return;
    const left = 44, right = 6, top = 10, foot = 20;
    const points = this.series(), first = points[0], last = points[points.length - 1];
    this.svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    const from = first ? first.at : 0, span = last ? Math.max(last.at - from, 1) : 1;
    const most = nice(points.reduce((max, point) => Math.max(max, point.rate, point.fails), 0));
    const x = (at) => left + ((at - from) / span) * (wide - left - right);
    const y = (rate) => top + (1 - rate / most) * (high - top - foot);
    const peak = points.reduce((max, point) => Math.max(max, point.rate), 0);
    const desc = last ? `From ${clock.format(from * 1000)} to ${clock.format(last.at * 1000)}: ${perSecond(last.rate)} at the end, ${perSecond(peak)} at most.` : "No moments yet.";
    const made = [s("title", { id: "plot-title" }, "Ends per second over time"), s("desc", { id: "plot-desc" }, desc)];
    for (const part of [0, 0.5, 1]) {
      made.push(s("line", { class: "grid", x1: left, x2: wide - right, y1: y(most * part), y2: y(most * part) }));
      made.push(s("text", { x: left - 8, y: y(most * part) + 4, "text-anchor": "end" }, short(most * part)));
    }
    if (points.length > 1) {
      const line = (of) => points.map((point) => `${x(point.at).toFixed(1)},${y(of(point)).toFixed(1)}`).join("L");
      made.push(s("path", { class: "area", d: `M${x(from)},${y(0)}L${line((p) => p.rate)}L${x(last.at)},${y(0)}Z` }));
      made.push(s("path", { class: "line", d: `M${line((p) => p.rate)}` }));
      if (points.some((point) => point.fails)) made.push(s("path", { class: "fails", d: `M${line((p) => p.fails)}` }));
      const ticks = wide < 420 ? 2 : 4;
      for (let n = 0; n <= ticks; n++) {
        const at = from + (span * n) / ticks, anchor = n === 0 ? "start" : n === ticks ? "end" : "middle";
        made.push(s("text", { x: x(at), y: high - 4, "text-anchor": anchor }, (span > 86400 ? dayed : clock).format(at * 1000)));
      }
    }
    const told = this.hover != null ? nearest(points, from + ((this.hover - left) / (wide - left - right)) * span) : null;
    if (told) {
      made.push(s("line", { class: "at", x1: x(told.at), x2: x(told.at), y1: top, y2: high - foot }));
      made.push(s("circle", { class: "dot", cx: x(told.at), cy: y(told.rate), r: 3.5 }));
    }
    this.svg.replaceChildren(...made);
    const shown = told || last;
    say(this.said, shown ? `${clock.format(shown.at * 1000)}: ${perSecond(shown.rate)}, ${size(shown.bytes)}/s, ${count(shown.done)} settled, ${count(shown.failed)} failed` : "No moments yet: a run notes one every ten seconds.");
    if (this.more.open) this.table.show([...this.points].reverse());
  }

  point(event) {
    this.hover = event.clientX - this.svg.getBoundingClientRect().left;
    this.draw();
  }

  end() { this.seen.disconnect(); }
}

function nice(n) { // the next round number, even halved
  if (n <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 4, 5, 8, 10].map((step) => step * power).find((step) => step >= n);
}
const short = (n) => (n >= 1e6 ? `${n / 1e6}M` : n >= 1e3 ? `${n / 1e3}k` : String(Number(n.toPrecision(3))));
const nearest = (points, at) => points.reduce((best, point) => (best && Math.abs(best.at - at) <= Math.abs(point.at - at) ? best : point), null);

// ---- views

class Overview {
  constructor() {
    this.watch = { watch: "overview" };
    this.path = "/api/overview";
    this.sum = h("p", { class: "more dim" });
    this.table = new Table("Jobs", [
      { name: "Job", class: "jobs", by: "job", of: (j) => j.job, show: (j) => h("a", { href: link(j.job) }, j.job) },
      { name: "State", by: "state", of: (j) => outcome(j), show: (j) => badge(...outcome(j)) },
      { name: "Progress", of: (j) => [j.fetched, j.failed, j.skipped, j.known], show: (j) => share(j) },
      { name: "Settled", n: true, by: "done", of: (j) => `${count(j.done)} / ${count(j.known)}${j.importing ? "+" : ""}` },
      { name: "Rate", n: true, by: "rate", of: (j) => (j.state === "never" ? "–" : perSecond(j.rate)) },
      { name: "Failed", n: true, by: "failed", of: (j) => [j.failed], show: (j) => h("span", { class: j.failed ? "bad" : "dim" }, count(j.failed)) },
      { name: "Bytes", n: true, by: "bytes", of: (j) => size(j.bytes) },
      { name: "Last run", by: "started", of: (j) => stamp(j.started) },
      { name: "Took", n: true, by: "elapsed", of: (j) => duration(j.elapsed) },
      { name: "Last success", by: "last_success", of: (j) => (j.last_success ? stamp(j.last_success) : "never") },
    ], { key: (j) => j.job, sort: "started", down: true, empty: "No job has been run in this folder yet." });
    this.node = h("div", {}, h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Jobs"), this.sum), h("section", { "aria-label": "Jobs" }, this.table.node));
    this.table.node.style.borderTop = "0";
  }

  take(said) {
    if (said.kind !== "overview") return;
    const jobs = said.jobs.map((job) => ({ ...job, done: job.fetched + job.failed + job.skipped }));
    const running = jobs.filter((job) => AT_WORK.includes(job.state));
    const rate = running.reduce((sum, job) => sum + job.rate, 0);
    const wrong = jobs.filter((job) => ["bad"].includes(outcome(job)[1])).length;
    say(this.sum, [plural(jobs.length, "job"), `${running.length} at work${running.length ? ` (${perSecond(rate)})` : ""}`, `${wrong} need${wrong === 1 ? "s" : ""} a look`].join(" · "));
    this.table.show(jobs);
  }

  end() {}
}

class JobPage {
  constructor(job, run) {
    Object.assign(this, { job, run, parts: {} });
    this.watch = run ? null : { watch: "job", job };
    this.path = api(job, run);
    this.title = h("h1", { tabindex: "-1" }, job);
    this.state = h("span");
    this.more = h("p", { class: "more dim" });
    this.note = h("p", { class: "note", hidden: true });
    this.counts = h("p");
    this.share = h("div");
    this.waits = h("p", { class: "waits" });
    this.facts = h("dl", { class: "facts" });
    this.values = {};
    const progress = h("section", { "aria-label": "Progress" }, h("div", { class: "progress" }, this.counts, this.share, this.waits), this.facts);
    this.plot = new Plot();
    this.reasons = h("ul", { class: "chips" });
    this.why = section("Why not fetched", h("span", { class: "dim" }, "a click shows the records"), this.reasons);
    this.why.hidden = true;
    this.hosts = hostsTable();
    this.failures = failuresTable();
    this.oldest = new Table("Oldest requests in flight", [
      { name: "URL", class: "wide mono", of: (o) => o.url },
      { name: "Phase", of: (o) => o.phase },
      { name: "Age", n: true, of: (o) => duration(o.age) },
    ], { key: (o) => o.url, empty: "Nothing is in flight." });
    this.flight = section("Oldest in flight", null, this.oldest.node);
    this.flight.hidden = true;
    this.log = h("div", { class: "log", tabindex: "0", role: "region", "aria-label": "End of run.log" });
    this.runs = runsTable(job);
    this.records = new Records(job);
    this.node = h("div", {}, h("div", { class: "head" }, this.title, this.state, this.more), this.note, progress, this.plot.node, this.why,
      h("div", { class: "two" }, section("Recent failures", null, this.failures.node), section("Log", h("span", { class: "dim" }, "the end of run.log"), this.log)),
      this.flight, section("Hosts", null, this.hosts.node), this.records.node, section("Runs", null, this.runs.node));
  }

  take(said) {
    if (said.kind === "gone") { this.warn("This job is gone from the folder."); return; }
    if (said.kind !== "job" || said.name !== this.job) return;
    const { job, hosts, failures, log, runs } = said.parts;
    if (job) this.takeJob(job, said.control);
    if (hosts) this.hosts.show(hosts.map((host) => ({ ...host, known: host.fetched + host.failed + host.skipped })));
    if (failures) this.failures.show(failures.map((row, n) => ({ ...row, n })));
    if (log) this.takeLog(log);
    if (runs) this.runs.show(runs);
  }

  takeJob(job, control) {
    const shown = outcome(job), done = job.fetched + job.failed + job.skipped;
    if (this.said !== String(shown)) this.state.replaceChildren(badge(...shown));
    this.said = String(shown);
    say(this.more, job.run ? `run ${job.run} · begun ${stamp(job.started)}${job.ended ? ` · ended ${stamp(job.ended)}` : ""}${job.exit_code == null ? "" : ` · exit ${job.exit_code}`}` : "never run");
    this.warn(job.error || (this.run ? `This is run ${this.run}. The last run of ${this.job} is on the page of the job.` : ""));
    if (!job.run) return;
    if (this.shownRun !== job.run) this.begin(job.run);
    const percent = job.known ? Math.floor((100 * done) / Math.max(job.known, done)) : 0;
    const text = [`${count(done)} of ${count(job.known)}${job.importing ? "+" : ""} settled, ${percent}%`, `${count(job.fetched)} fetched · ${count(job.failed)} failed · ${count(job.skipped)} skipped`];
    if (this.text !== text.join()) this.counts.replaceChildren(...text.map((part) => h("span", {}, part)));
    this.text = text.join();
    this.share.replaceChildren(share(job));
    const atWork = AT_WORK.includes(job.state);
    say(this.waits, atWork ? job.waits || (job.live ? "" : "The process does not answer; these are the numbers it noted last.") : "");
    this.waits.hidden = !this.waits.textContent;
    const latency = job.latency_ms || {};
    this.fact("Rate", perSecond(job.rate), atWork ? "" : "mean");
    this.fact("Failed", count(job.failed));
    if (atWork) {
      this.fact("Throughput", `${size(job.byte_rate)}/s`);
      this.fact("In flight", count(job.in_flight));
      this.fact("Waiting", count(job.waiting));
      this.fact("Left", job.eta == null ? "–" : duration(job.eta), job.eta_host ? `by ${job.eta_host}` : "");
    }
    this.fact("Bytes", size(job.bytes));
    this.fact("At work", duration(job.elapsed));
    this.fact("Retries", count(job.retries));
    this.fact("Latency", latency.p50 == null ? "–" : ms(latency.p50), latency.p95 == null ? "" : `p95 ${ms(latency.p95)}`);
    this.drop(atWork ? [] : ["Throughput", "In flight", "Waiting", "Left"]);
    const changes = Object.entries(job.changes || {}).filter(([, n]) => n);
    if (changes.length) this.fact("Changes", changes.map(([kind, n]) => `${count(n)} ${kind}`).join(", "));
    this.takeReasons(job.reasons);
    this.oldest.show(job.oldest || []);
    this.flight.hidden = !(job.oldest || []).length;
    if (atWork && job.at && this.plot.add({ at: job.at, rate: job.rate, bytes: job.byte_rate, done, failed: job.failed })) this.plot.draw();
    if (control && atWork && !this.orders) {
      this.orders = new Orders(this.job);
      this.node.insertBefore(this.orders.node, this.plot.node);
    }
    if (this.orders) this.orders.node.hidden = !atWork;
  }

  begin(run) {
    this.shownRun = run;
    this.plot.points = [];
    this.records.of(run);
    ask(api(this.job, run, "/history")).then((said) => { if (this.shownRun === run) this.plot.begin(said.points); }).catch(() => {});
  }

  fact(name, value, more) {
    let fact = this.values[name];
    if (!fact) {
      fact = this.values[name] = { value: h("span"), more: h("small") };
      fact.node = this.facts.appendChild(h("div", {}, h("dt", {}, name), h("dd", {}, fact.value, " ", fact.more)));
    }
    say(fact.value, value);
    say(fact.more, more || "");
  }

  drop(names) {
    for (const name of names) if (this.values[name]) { this.values[name].node.remove(); delete this.values[name]; }
  }

  takeReasons(reasons) {
    const text = JSON.stringify(reasons);
    if (this.whys === text) return;
    this.whys = text;
    this.why.hidden = !Object.keys(reasons).length;
    this.reasons.replaceChildren(...Object.entries(reasons).map(([slug, n]) => h("li", {}, h("button", { type: "button", onclick: () => this.records.only({ reason: slug }) }, `${slug} `, h("b", {}, count(n))))));
  }

  takeLog(lines) {
    const down = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
    const pre = h("pre");
    for (const line of lines) {
      const level = /^\S+ (WARNING|ERROR|CRITICAL) /.exec(line) || /"level":"(warning|error|critical)"/.exec(line);
      pre.append(h("span", { class: level ? level[1].toUpperCase() : null }, line));
    }
    this.log.replaceChildren(lines.length ? pre : h("span", { class: "dim" }, "This run has no log."));
    if (down) this.log.scrollTop = this.log.scrollHeight;
  }

  warn(text) {
    say(this.note, text);
    this.note.hidden = !text;
  }

  end() { this.plot.end(); }
}

function hostsTable() {
  const blocked = (host) => (host.blocked_for ? `${host.why ? `${host.why}, ` : ""}${duration(host.blocked_for)}` : host.why);
  return new Table("Hosts", [
    { name: "Host", class: "wide", by: "host", of: (x) => x.host },
    { name: "Fetched", n: true, by: "fetched", of: (x) => count(x.fetched) },
    { name: "Failed", n: true, by: "failed", of: (x) => [x.failed], show: (x) => h("span", { class: x.failed ? "bad" : "dim" }, count(x.failed)) },
    { name: "Skipped", n: true, by: "skipped", of: (x) => count(x.skipped) },
    { name: "Bytes", n: true, by: "bytes", of: (x) => size(x.bytes) },
    { name: "Waiting", n: true, by: "waiting", of: (x) => count(x.waiting) },
    { name: "In flight", n: true, by: "in_flight", of: (x) => count(x.in_flight) },
    { name: "Rate", n: true, by: "rate", of: (x) => (x.rate == null ? "–" : perSecond(x.rate)) },
    { name: "Was blocked", n: true, by: "blocked", of: (x) => (x.blocked ? duration(x.blocked) : "–") },
    { name: "Waits for", class: "why", by: "blocked_for", of: (x) => blocked(x) || "–" },
  ], { key: (x) => x.host, tall: true, sort: "known", down: true, empty: "No host has been asked yet." });
}

function failuresTable() {
  return new Table("Recent failures", [
    { name: "Reason", of: (x) => x.reason || x.outcome, show: (x) => h("span", { class: "bad" }, x.reason || "") },
    { name: "URL", class: "wide", of: (x) => [x.url, x.error], show: (x) => h("span", {}, h("span", { class: "mono" }, x.url), x.error ? h("div", { class: "dim" }, x.error) : null) },
  ], { key: (x) => `${x.id} ${x.started_at}`, tall: true, empty: "Nothing failed, as far as the end of the records tells." });
}

function runsTable(job) {
  return new Table("Runs", [
    { name: "Run", class: "mono", of: (x) => x.run, show: (x) => h("a", { href: link(job, x.run) }, x.run) },
    { name: "State", of: (x) => outcome(x), show: (x) => badge(...outcome(x)) },
    { name: "Exit", n: true, of: (x) => (x.exit_code == null ? "–" : String(x.exit_code)) },
    { name: "Begun", of: (x) => stamp(x.started) },
    { name: "Took", n: true, of: (x) => duration(x.elapsed) },
    { name: "Fetched", n: true, of: (x) => count(x.fetched) },
    { name: "Failed", n: true, of: (x) => [x.failed], show: (x) => h("span", { class: x.failed ? "bad" : "dim" }, count(x.failed)) },
    { name: "Skipped", n: true, of: (x) => count(x.skipped) },
    { name: "Bytes", n: true, of: (x) => size(x.bytes) },
    { name: "Rate", n: true, of: (x) => perSecond(x.rate) },
    { name: "Report", of: (x) => [x.report, x.there], show: (x) => (x.report ? h("a", { href: api(job, x.run, "/report.html"), target: "_blank", rel: "noopener" }, "report") : h("span", { class: "dim" }, x.there ? "–" : "folder gone")) },
  ], { key: (x) => x.run, tall: true, empty: "No run yet." });
}

class Records {
  constructor(job) {
    this.job = job;
    this.turn = 0;
    const option = (value) => h("option", { value }, value || "any");
    const select = (name, values) => h("select", { name }, option(""), ...values.map(option));
    const field = (text, input) => h("label", {}, text, input);
    this.form = h("form", { class: "filters", onsubmit: (event) => { event.preventDefault(); this.find(); } },
      field("Outcome", select("outcome", ["fetched", "failed", "skipped"])),
      field("Reason", h("input", { name: "reason", class: "short", placeholder: "status-5*", spellcheck: "false", autocapitalize: "off" })),
      field("Status", h("input", { name: "status", class: "short", placeholder: "404, 5xx" })),
      field("Change", select("change", ["new", "changed", "unchanged", "gone"])),
      field("Host contains", h("input", { name: "host", spellcheck: "false", autocapitalize: "off" })),
      field("URL contains", h("input", { name: "url", spellcheck: "false", autocapitalize: "off" })),
      h("div", { class: "buttons" }, h("button", { type: "submit" }, "Show"),
        h("button", { type: "reset", onclick: () => setTimeout(() => this.clear()) }, "Clear")));
    this.body = h("tbody");
    const heads = ["URL", "Outcome", "Status", "Size", "Time", "Type", "Change", "Record", "Body"];
    this.table = h("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Records", hidden: true },
      h("table", {}, h("caption", {}, "Records"), h("thead", {}, h("tr", {}, ...heads.map((name) => h("th", { scope: "col", class: ["Size", "Time"].includes(name) ? "n" : null }, name)))), this.body));
    this.button = h("button", { type: "button", onclick: () => this.go() }, "More");
    this.said = h("span", { class: "dim", role: "status" });
    this.foot = h("div", { class: "foot" }, this.said, this.button);
    this.button.hidden = true;
    this.node = section("Records", h("span", { class: "dim" }, "of this run, in the order in which they ended"), this.form, this.table, this.foot);
    this.clear();
  }

  of(run) {
    if (this.run !== run) { this.run = run; this.clear(); }
  }

  clear() {
    this.turn++;
    this.body.replaceChildren();
    this.table.hidden = this.button.hidden = true;
    say(this.said, "Choose what to see, or show all.");
  }

  only(values) {
    this.form.reset();
    for (const [name, value] of Object.entries(values)) this.form.elements[name].value = value;
    this.find();
    this.node.scrollIntoView({ block: "start" });
  }

  find() {
    this.clear();
    Object.assign(this, { cursor: 0, found: 0, looked: 0 });
    this.asked = [...new FormData(this.form)].filter(([, value]) => value.trim());
    this.go();
  }

  async go() { // on until there is a page of them: a slice without any is no end
    const turn = ++this.turn, enough = this.found + 50;
    this.button.hidden = true;
    while (this.cursor != null && this.found < enough) {
      const query = new URLSearchParams([...this.asked, ["cursor", this.cursor], ["rows", enough - this.found]]);
      let said;
      try { said = await ask(api(this.job, this.run, `/records?${query}`)); } catch (error) {
        if (turn === this.turn) say(this.said, error.message);
        return;
      }
      if (turn !== this.turn) return;
      this.cursor = said.next;
      this.found += said.records.length;
      this.looked += said.looked;
      this.table.hidden = false;
      for (const record of said.records) this.add(record);
      say(this.said, `${plural(this.found, "record")} of ${count(this.looked)} looked at${this.cursor == null ? ", all there are" : ""}. ${said.note ? `Note: ${said.note}.` : ""}`);
    }
    this.button.hidden = this.cursor == null;
  }

  add(record) {
    const detail = h("tr", { class: "detail", hidden: true }, h("td", { colspan: 9 }, h("pre", {}, record.record)));
    const open = h("button", { type: "button", class: "link", "aria-expanded": "false", onclick: () => {
      detail.hidden = !detail.hidden;
      open.setAttribute("aria-expanded", String(!detail.hidden));
    } }, "show");
    const kind = { fetched: "good", failed: "bad" }[record.outcome] || "";
    const url = h("td", { class: "wide mono" }, record.url);
    if (record.final_url) url.append(h("div", { class: "dim" }, `→ ${record.final_url}`));
    if (record.error) url.append(h("div", { class: "dim" }, record.error));
    this.body.append(h("tr", {}, url, h("td", {}, badge(record.reason || record.outcome || "", kind)), h("td", {}, record.status == null ? "–" : String(record.status)),
      h("td", { class: "n" }, size(record.bytes)), h("td", { class: "n" }, ms(record.total_ms)), h("td", {}, (record.content_type || "–").split(";")[0].slice(0, 40)),
      h("td", {}, record.change || "–"), h("td", {}, open), h("td", {}, record.body ? h("a", { href: record.body, download: true }, "download") : "–")), detail);
  }
}

class Orders {
  constructor(job) {
    this.job = job;
    this.token = h("input", { type: "password", autocomplete: "off", value: null });
    this.token.value = sessionStorage.getItem("token") || "";
    this.rate = h("input", { class: "short", placeholder: "20/s or none" });
    this.host = h("input", { placeholder: "host" });
    this.hostRate = h("input", { class: "short", placeholder: "2/s or none" });
    this.said = h("span", { class: "dim", role: "status" });
    const button = (text, order) => h("button", { type: "button", onclick: () => this.send(order()) }, text);
    this.node = section("Control", this.said, h("form", { class: "order", onsubmit: (event) => event.preventDefault() },
      h("label", {}, "Token", this.token), button("Pause", () => ({ do: "pause" })), button("Resume", () => ({ do: "resume" })),
      button("Stop", () => (confirm(`Stop ${job}? What is in flight may end; the next run goes on.`) ? { do: "stop" } : null)),
      h("label", {}, "Rate of the job", this.rate), button("Set", () => ({ do: "set", key: "limits.rate", value: this.rate.value.trim() || null })),
      h("label", {}, "Host", this.host), h("label", {}, "Its rate", this.hostRate),
      button("Set for host", () => ({ do: "set", key: `hosts."${this.host.value.trim()}".rate_per_host`, value: this.hostRate.value.trim() || null }))));
  }

  async send(order) {
    if (!order) return;
    sessionStorage.setItem("token", this.token.value);
    say(this.said, "…");
    try {
      await ask(api(this.job, null, "/control"), { method: "POST", body: JSON.stringify(order), headers: { "Content-Type": "application/json", Authorization: `Bearer ${this.token.value}` } });
      say(this.said, `${order.do}: done`);
    } catch (error) {
      say(this.said, error.message);
    }
  }
}

// ---- the wire: a WebSocket, else polling

async function ask(path, more) {
  const answer = await fetch(path, { credentials: "same-origin", ...more });
  const said = await answer.json().catch(() => ({}));
  if (answer.status === 401 && !(more && more.method)) location.assign("/login");
  if (!answer.ok) throw Object.assign(new Error(said.error || `status ${answer.status}`), { status: answer.status });
  return said;
}

const wire = {
  socket: null, tries: 0, view: null,

  sign(mode, text) {
    const sign = document.getElementById("sign");
    sign.dataset.mode = mode;
    say(sign, text);
  },

  show(view) { // a new view: the socket is told, or a poll is due
    this.view = view;
    clearTimeout(this.due);
    if (this.socket && this.socket.readyState === WebSocket.OPEN && view.watch) this.socket.send(JSON.stringify(view.watch));
    else this.poll();
  },

  connect() {
    clearTimeout(this.next);
    if (document.hidden || this.socket) return;
    let socket;
    try { socket = this.socket = new WebSocket(`ws://${location.host}/ws`); } catch { this.later(); return; }
    socket.onopen = () => {
      this.tries = 0;
      clearTimeout(this.due);
      this.sign("live", "live");
      if (this.view && this.view.watch) socket.send(JSON.stringify(this.view.watch));
      else this.poll();
    };
    socket.onmessage = (event) => { if (this.view && this.view.watch) this.view.take(JSON.parse(event.data)); };
    socket.onclose = () => {
      if (this.socket === socket) this.socket = null;
      if (!document.hidden) this.later();
    };
  },

  later() { // no socket for now: polls bridge the time to the next try
    this.next = setTimeout(() => this.connect(), AGAIN[Math.min(this.tries++, AGAIN.length - 1)]);
    this.poll();
  },

  async poll() {
    clearTimeout(this.due);
    const view = this.view;
    const open = () => this.socket && this.socket.readyState === WebSocket.OPEN;
    if (!view || document.hidden || (open() && view.watch)) return;
    try {
      const said = await ask(view.path);
      if (view === this.view) view.take(said);
      if (!open()) this.sign("polling", "polling");
    } catch (error) {
      if (error.status === 404 && view === this.view) view.take({ kind: "gone" });
      if (!error.status) this.sign("lost", "lost");
    }
    if (view === this.view && !open()) this.due = setTimeout(() => this.poll(), POLL);
  },

  hidden() { // nobody looks: nothing is asked
    if (document.hidden) {
      clearTimeout(this.next);
      clearTimeout(this.due);
      if (this.socket) this.socket.close();
      this.socket = null;
      this.sign("still", "resting");
    } else { this.connect(); this.poll(); }
  },
};

function route() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  if (wire.view) wire.view.end();
  const [kind, job, , run] = parts;
  const view = kind === "job" && job ? new JobPage(job, run) : new Overview();
  const where = document.getElementById("where");
  const sep = () => h("span", { class: "sep", "aria-hidden": "true" }, "/");
  where.replaceChildren(...(view.job ? [sep(), h("a", { href: link(job) }, job)] : []), ...(run ? [sep(), h("span", { class: "dim" }, run)] : []));
  document.title = view.job ? `${job} · crawler monitor` : "crawler monitor";
  main.replaceChildren(view.node);
  if (route.begun) { main.querySelector("h1").focus(); scrollTo(0, 0); }
  route.begun = true;
  wire.show(view);
}

addEventListener("hashchange", () => { if (location.hash !== "#main") route(); });
document.addEventListener("visibilitychange", () => wire.hidden());
route();
wire.connect();
