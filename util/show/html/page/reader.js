// Reads the run's data from the calls in data/0001.js, 0002.js, ... (which pages.py writes), and
// shows the run's status. During the run, the last of these files is polled for new lines. The
// whole page uses the settings and helpers at the top.

const POLL_MS = 3000;
const SILENCE_S = 30 * 60; // after this long without news, a run is presumed dead
const ROWS_AT_ONCE = 12;
const settings = JSON.parse(document.getElementById("settings").textContent);
const byId = (id) => document.getElementById(id);
const isTraining = Boolean(byId("curves"));

// Strings in `children` become text nodes: no data is ever parsed as HTML.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function iconButton(words, text, action) {
  const properties = { type: "button", className: "icon", ariaLabel: words, title: words };
  const button = make("button", properties, text);
  button.addEventListener("click", action);
  return button;
}

const caption = (label) => settings.captions[label] ?? label;
const count = (number) => number.toLocaleString("en");
const counted = (number, thing) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;
const figure = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))));
function clock(time_s) {
  const date = new Date(time_s * 1000);
  const today = date.toDateString() === new Date().toDateString();
  const hour = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return today ? hour : `${date.toLocaleDateString()} ${hour}`;
}

// ---- The calls in the data files ----

const rows = new Map(); // epoch and number, or name of the result -> what to show
const shrunk = new Set(); // pictures that were replaced by a smaller JPEG
const validations = new Map(); // epoch -> its metrics
let lastBatch = null; // a row of what was just trained on
const curve = { images: [], epochs: [], rates: [], losses: new Map() }; // columns of equal length
const run = { news_s: 0, told_s: 0, ended: null, epoch: 0, images: 0 };
const reader = { file: 1, line: 0, linesDone: 0, more: false, damaged: false };
let names = [];

function keepPoints(length) {
  for (const column of [curve.images, curve.epochs, curve.rates, ...curve.losses.values()]) {
    column.length = length;
  }
}

function told(time_s) {
  run.told_s = time_s;
  run.news_s = Math.max(run.news_s, time_s);
}

function progress(time_s, epoch, images) {
  told(time_s);
  Object.assign(run, { epoch, images });
}

const calls = {
  open(time_s) {
    told(time_s);
    run.ended = null;
  },
  pictures(time_s, epoch, images, files, number = 1, name = "") {
    progress(time_s, epoch, images);
    const title = name ? `${name}, epoch ${epoch}` : `Epoch ${epoch}`;
    const detail = `${counted(images, "image")} · ${clock(time_s)}`;
    const [key, version] = [`${epoch} ${number}`, `${images}-${time_s}`];
    rows.set(key, { key, title, detail, files, images, epoch, number, version });
    for (const file of Object.values(files)) shrunk.delete(file);
  },
  batch(time_s, files) {
    const title = "Last batch";
    lastBatch = { key: "batch", title, detail: "", files, version: `${time_s}` };
  },
  shrunk(files) {
    for (const file of files) shrunk.add(file);
    for (const [key, row] of rows) {
      const isOld = Object.values(row.files).some((file) => files.includes(file));
      if (isOld) rows.set(key, { ...row }); // a new row is shown anew
    }
  },
  validation(time_s, epoch, images, byWeights, nothing, isBest) {
    progress(time_s, epoch, images);
    validations.set(epoch, { epoch, images, byWeights, nothing, isBest });
  },
  result(time_s, name, source, files, metrics) {
    told(time_s);
    rows.set(name, { key: name, title: name, detail: source, files, metrics, version: time_s });
  },
  losses(given) {
    names = given;
    for (const name of names) {
      if (!curve.losses.has(name)) {
        curve.losses.set(name, new Array(curve.images.length).fill(null));
      }
    }
  },
  loss(time_s, epoch, images, rate, values) {
    progress(time_s, epoch, images);
    let length = curve.images.length;
    while (length && curve.images[length - 1] >= images) length--;
    keepPoints(length);
    curve.images.push(images);
    curve.epochs.push(epoch);
    curve.rates.push(rate);
    for (const [name, column] of curve.losses) column.push(values[names.indexOf(name)] ?? null);
  },
  rewind(images) {
    for (const row of rows.values()) if (row.images > images) rows.delete(row.key);
    for (const [epoch, at] of validations) if (at.images > images) validations.delete(epoch);
    const end = curve.images.findIndex((at) => at > images);
    if (end >= 0) keepPoints(end);
  },
  end(time_s, message) {
    told(time_s);
    run.ended = message || "Finished";
  },
  next() {
    reader.more = true;
  },
};

window.page = {};
for (const [name, call] of Object.entries(calls)) {
  page[name] = (...values) => {
    if (reader.line++ < reader.linesDone) return; // done in an earlier reading
    reader.linesDone++;
    call(...values);
  };
}

function runScript(source) {
  return new Promise((done) => {
    const ended = (event) => {
      reader.damaged ||= event.type === "error";
      script.remove();
      done();
    };
    const script = make("script", { src: source, onload: ended, onerror: ended });
    document.head.append(script);
  });
}

// Runs the new calls; resolves to whether there were any.
async function readNews() {
  let news = false;
  const onError = () => (reader.damaged = true); // a line half written, or cut off by a crash
  window.addEventListener("error", onError);
  do {
    const before = reader.linesDone;
    Object.assign(reader, { line: 0, more: false, damaged: false });
    await runScript(`data/${String(reader.file).padStart(4, "0")}.js?${Date.now()}`);
    if (!reader.damaged && reader.line < reader.linesDone) location.reload(); // a new run
    news ||= reader.linesDone > before;
    if (reader.more) Object.assign(reader, { file: reader.file + 1, linesDone: 0 });
  } while (reader.more);
  window.removeEventListener("error", onError);
  return news;
}

let timer = 0;
let isReading = false;

async function watch(isFirst) {
  if (isReading) return;
  isReading = true;
  clearTimeout(timer);
  const hasNews = await readNews();
  isReading = false;
  if (hasNews) {
    if (!isFirst) run.news_s = Date.now() / 1000; // the run's machine may have a different clock
    showRows();
    showScores();
    showCurves();
  }
  showStatus();
  if (isLive() && !document.hidden) timer = setTimeout(watch, POLL_MS);
}

const isLive = () => run.ended === null && Date.now() / 1000 - run.news_s < SILENCE_S;

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) watch();
});

function showStatus() {
  const status = byId("status");
  const parts = [];
  if (run.ended !== null) parts.push(run.ended[0].toUpperCase() + run.ended.slice(1));
  else if (isLive()) parts.push("Live");
  else parts.push(`No updates since ${clock(run.told_s)}: the run may have stopped`);
  if (!isTraining) {
    parts.push(counted(rows.size, "result"));
  } else if (run.epoch) {
    parts.push(`epoch ${count(run.epoch)} of ${count(settings.epochs)}`);
    parts.push(counted(run.images, "image"));
  }
  if (isLive() || run.ended !== null) parts.push(clock(run.told_s));
  if (reader.damaged) parts.push("the last data could not be read");
  status.className = run.ended !== null ? "ended" : isLive() ? "live" : "silent";
  const pieces = parts.map((part, i) =>
    make("span", {}, i < parts.length - 1 ? `${part} ·` : part),
  );
  status.replaceChildren(...pieces.flatMap((piece) => [piece, " "]));
  if (status.className === "silent") {
    status.append(make("button", { type: "button", onclick: () => watch() }, "Check again"));
  }
}

// ---- The command that resumes the run ----

byId("copy")?.addEventListener("click", async () => {
  const command = byId("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    byId("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(command); // the clipboard is denied; Ctrl+C still works
  }
});

// Wait until the whole script has run.
document.addEventListener("DOMContentLoaded", () => watch(true));
