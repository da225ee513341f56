// Reads the run's data from the calls in data/0001.js, 0002.js, ... (which pages.py writes). During
// the run, the last of these files is polled for new lines, and data/alive.js for signs of life.
// The whole page uses the settings at the top.

const POLL_MS = 3000;
const settings = JSON.parse(document.getElementById("settings").textContent);
const isTraining = Boolean(byId("curves"));
const caption = (label) => settings.captions[label] ?? label;

// ---- The calls in the data files ----

// What is shown in a row: {key, number, frames}. A result has one frame, and a picture of a run one
// for each epoch: {epoch, number, images, title, detail, files}, with `files` by label.
const rows = new Map(); // by key
const versions = new Map(); // file of a picture -> {epoch, version}
const shrunk = new Set(); // pictures that were replaced by a smaller JPEG
const validations = new Map(); // epoch -> its metrics
const untouched = new Map(); // name of a result -> the metrics of its input
const measured = new Map(); // name of a result -> the metrics of each of several pictures, by label
const notes = new Map(); // name of a result, or "" for all -> [kind, words] of each
let lastBatch = null; // a row of what was just trained on
const curve = { times: [], images: [], epochs: [], rates: [], losses: new Map() }; // equally long
const run = { news_s: 0, told_s: 0, began_s: 0, ended: null, epoch: 0, images: 0, alive_s: 0 };
const reader = { file: 1, line: 0, linesDone: 0, more: false, damaged: false };
let names = [];

function keepPoints(length) {
  const { times, images, epochs, rates, losses } = curve;
  for (const column of [times, images, epochs, rates, ...losses.values()]) column.length = length;
}

function told(time_s) {
  run.told_s = time_s;
  run.news_s = Math.max(run.news_s, time_s);
}

function progress(time_s, epoch, images) {
  told(time_s);
  Object.assign(run, { epoch, images });
}

// Where a file of a picture is now.
function address(file) {
  const name = shrunk.has(file) ? file.replace(/png$/, "jpg") : file;
  return `images/${name}?${versions.get(file).version}`;
}

// A file that is told again for another epoch, such as an input, is the same picture.
function noteFiles(files, epoch, version) {
  for (const file of Object.values(files)) {
    shrunk.delete(file);
    const known = versions.get(file);
    if (!known || known.epoch === epoch) versions.set(file, { epoch, version });
  }
}

const calls = {
  open(time_s) {
    told(time_s);
    Object.assign(run, { ended: null, began_s: time_s });
  },
  pictures(time_s, epoch, images, files, number = 1, name = "") {
    progress(time_s, epoch, images);
    noteFiles(files, epoch, `${images}-${time_s}`);
    const key = `${number} ${name}`;
    const row = rows.get(key) ?? { key, number, frames: [], epoch: null };
    rows.set(key, row);
    while (row.frames.length && row.frames.at(-1).epoch >= epoch) row.frames.pop();
    const title = name ? `${name}, epoch ${epoch}` : `Epoch ${epoch}`;
    const detail = `${counted(images, "image")} · ${clock(time_s)}`;
    row.frames.push({ epoch, number, images, title, detail, files });
  },
  batch(time_s, files) {
    noteFiles(files, 0, time_s);
    lastBatch = { key: "batch", frames: [{ title: "Last batch", detail: "", files }] };
  },
  shrunk(files) {
    for (const file of files) shrunk.add(file);
  },
  validation(time_s, epoch, images, byWeights, nothing, isBest) {
    progress(time_s, epoch, images);
    validations.set(epoch, { epoch, images, byWeights, nothing, isBest, pictures: {} });
  },
  judged(epoch, pictures) {
    const at = validations.get(epoch);
    if (at) at.pictures = pictures;
  },
  nothing(name, figures) {
    untouched.set(name, figures);
  },
  measured(name, byLabel) {
    measured.set(name, byLabel);
  },
  notes(name, given) {
    notes.set(name, given);
  },
  result(time_s, name, source, files, metrics) {
    told(time_s);
    noteFiles(files, 0, time_s);
    rows.set(name, { key: name, frames: [{ title: name, detail: source, files, metrics }] });
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
    curve.times.push(time_s);
    curve.images.push(images);
    curve.epochs.push(epoch);
    curve.rates.push(rate);
    for (const [name, column] of curve.losses) column.push(values[names.indexOf(name)] ?? null);
  },
  rewind(images) {
    for (const row of rows.values()) {
      row.frames = row.frames.filter((frame) => frame.images <= images);
      if (!row.frames.length) rows.delete(row.key);
    }
    for (const [epoch, at] of validations) if (at.images > images) validations.delete(epoch);
    const end = curve.images.findIndex((at) => at > images);
    if (end >= 0) keepPoints(end);
    if (run.images > images) Object.assign(run, { epoch: curve.epochs.at(-1) ?? 0, images });
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

// From data/alive.js.
page.alive = (time_s) => hear(run, time_s);

// Runs the new calls; resolves to whether there were any.
async function readNews() {
  let news = false;
  const onError = () => (reader.damaged = true); // a line half written, or cut off by a crash
  window.addEventListener("error", onError);
  do {
    const before = reader.linesDone;
    Object.assign(reader, { line: 0, more: false, damaged: false });
    const file = `data/${String(reader.file).padStart(4, "0")}.js`;
    if (!(await runScript(`${file}?${Date.now()}`))) reader.damaged = true;
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
  if (isTraining && run.ended === null) await runScript(`data/alive.js?${Date.now()}`);
  isReading = false;
  if (hasNews) {
    if (!isFirst) run.news_s = now_s(); // the run's machine may have a different clock
    if (!isTraining) showNotes();
    showRows();
    showScores();
    showCurves();
    if (viewer.open) showViewed();
  }
  showStatus();
  if (run.ended === null && !document.hidden) timer = setTimeout(watch, POLL_MS);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) watch();
});

// Wait until the whole script has run.
document.addEventListener("DOMContentLoaded", () => watch(true));
