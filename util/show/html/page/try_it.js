// The page of scripts/try_it.py: uploads photographs, shows each beside its results, and offers
// these for download. What is known of them the program tells, again and again.

const settings = JSON.parse(document.getElementById("settings").textContent);
const BUSY_MS = 500;
const IDLE_MS = 3000; // other devices may add photographs
const MOST_UNDER_WAY = 2; // one for the network to work on, and the next
const ORIGINAL = "original";
const STATES = { waiting: "Waiting", uploading: "Uploading", working: "Working" };

// What the parts that compare pictures ask of each page.
const isTraining = false;
const caption = (label) => label;
const address = (file) => file;
const terms = () => [];
const partnersOf = (files) => [ORIGINAL, Object.keys(files).at(-1)];
const orderedRows = () => photographs.filter(hasPicture).map(({ row }) => row);

// Of {name, chosen, told, state, line, row}: `told` is what the program knows of one that was
// uploaded, `state` where another is, and `line` why it could not be done.
const photographs = [];
const hasPicture = ({ told }) => Boolean(told?.preview);
let chosenLast = { epoch: settings.epoch, full_size: settings.fullSize }; // for new photographs
let checkpoints = [];

async function ask(method, place, query = {}, body = undefined) {
  const words = new URLSearchParams(query).toString();
  const response = await fetch(words ? `${place}?${words}` : place, { method, body }).catch(() => {
    throw new Error("the program does not answer: it may have ended");
  });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

// ---- A photograph ----

const labelOf = ({ epoch, way }) => `${epoch}, ${way}`;

// The result of what is chosen, and the one to show until it is there.
function resultsOf({ told, chosen }) {
  const all = told?.results ?? [];
  const isDone = ({ state }) => state === "done";
  const wanted = all.findLast((r) => r.epoch === chosen.epoch && r.fullSize === chosen.full_size);
  return { wanted, seen: wanted && isDone(wanted) ? wanted : all.findLast(isDone) };
}

function stateOf(photo) {
  if (photo.line) return { state: "failed", line: photo.line };
  return photo.told ? (resultsOf(photo).wanted ?? { state: "waiting" }) : photo;
}

function stateWords({ state, line, seconds, way, why, preview }) {
  if (state === "failed") return line;
  if (state === "working") return `Working, ${Math.floor(seconds)} s`;
  if (state !== "done") return STATES[state];
  const reason = why ? `${way}, since ${why}` : way;
  const unseen = preview ? "" : "no browser shows such a picture";
  return [`${seconds.toFixed(1)} s`, reason, line, unseen].filter(Boolean).join(" · ");
}

function frameOfPhoto({ name, told }) {
  const results = told.results.filter(({ preview }) => preview);
  const files = Object.fromEntries(results.map((result) => [labelOf(result), result.preview]));
  return { title: name, detail: "", files: { [ORIGINAL]: told.preview, ...files } };
}

// Lists of checkpoints and ways, the download, and the end of a photograph.
function controlsOf(photo) {
  const choose = (what) => (value) => {
    photo.chosen[what] = value;
    chosenLast = { ...photo.chosen };
    again(photo);
  };
  const ways = settings.ways.map((way) => [way, way]);
  const epoch = choice("Checkpoint", [], choose("epoch"));
  const fullSize = choice("How the network sees the photograph", ways, choose("full_size"));
  const download = make("a", { className: "button", download: "" }, "Download");
  const remove = iconButton("Remove", "×", () => removePhotograph(photo));
  const element = make("div", { className: "controls" }, epoch, fullSize, download, remove);
  element.show = () => {
    const { wanted } = resultsOf(photo);
    epoch.hidden = fullSize.hidden = !photo.told;
    epoch.offer(checkpoints.map((label) => [label, label]));
    epoch.value = photo.chosen.epoch;
    fullSize.value = photo.chosen.full_size;
    download.hidden = !wanted?.file;
    if (wanted?.file) Object.assign(download, { href: wanted.file, title: wanted.name });
  };
  return element;
}

// The photograph and its result, with the line between them.
function comparedOf(photo) {
  const stage = slide(comparison("lazy"));
  const words = make("span");
  const pair = () => {
    const { seen } = resultsOf(photo);
    return [ORIGINAL, seen?.preview ? labelOf(seen) : ORIGINAL];
  };
  const enlarge = () => view(photo.row, pair(), "slider");
  const enlargeFully = () => {
    enlarge();
    zoom.actual();
  };
  const buttons = make(
    "div",
    {},
    iconButton("Enlarge, one pixel of the picture for each of the screen", "100%", enlargeFully),
    iconButton("Enlarge the comparison", "⤢", enlarge),
  );
  const figure = make("figure", {}, stage, make("figcaption", {}, words, buttons));
  const element = make("div", { className: "pictures" }, figure);
  element.show = () => {
    element.hidden = !hasPicture(photo);
    if (element.hidden) return;
    const [width, height] = photo.told.size;
    const style = { "--count": 1, "--own": width, "--ratio": width / height };
    for (const [name, value] of Object.entries(style)) {
      photo.element.style.setProperty(name, value); // see .row in page.css
    }
    photo.row.frames = [frameOfPhoto(photo)];
    stage.show(photo.row.frames[0], pair());
    words.textContent = pair().join(" | ");
    if (viewer.open && viewed.row === photo.row) showViewed();
  };
  return element;
}

function addPhotograph(name, given) {
  const chosen = { ...chosenLast };
  const photo = { name, chosen, told: null, state: "waiting", line: "", ...given };
  photo.row = { key: photo, frames: [] };
  const size = make("p", { className: "detail" });
  const state = make("p", { role: "status" });
  const [controls, compared] = [controlsOf(photo), comparedOf(photo)];
  const header = make("header", {}, make("div", {}, make("h3", {}, name), size), controls);
  photo.element = make("article", { className: "row" }, header, state, compared);
  photo.show = () => {
    const now = stateOf(photo);
    state.textContent = stateWords(now);
    state.className = `detail ${{ failed: "worse", working: "live" }[now.state] ?? ""}`;
    size.textContent = photo.told?.size?.map(count).join(" × ") ?? "";
    controls.show();
    compared.show();
  };
  photographs.push(photo);
  byId("rows").append(photo.element);
  photo.show();
  return photo;
}

async function again(photo) {
  const place = `photographs/${photo.told.number}`;
  const news = await ask("POST", place, photo.chosen).then(
    (told) => ({ told, line: "" }),
    ({ message }) => ({ line: message }),
  );
  Object.assign(photo, news).show();
  watch();
}

function removePhotograph(photo) {
  if (photo.told) deleteThere(photo.told.number);
  forget(photo);
  showStatus();
}

function deleteThere(number) {
  deleted.add(number);
  ask("DELETE", `photographs/${number}`).catch(() => {}); // it may have gone already
}

function forget(photo) {
  photo.isGone = true;
  if (viewer.open && viewed.row === photo.row) viewer.close();
  photographs.splice(photographs.indexOf(photo), 1);
  photo.element.remove();
}

// ---- Uploads: the other files wait in the browser ----

function add(files) {
  const added = [...files].map((file) => addPhotograph(file.name, { file }));
  added[0]?.element.scrollIntoView({ block: "nearest" });
  uploadNext();
}

// One after the other, so that they stay in order.
function uploadNext() {
  const isUploading = photographs.some(({ state }) => state === "uploading");
  const underWay = photographs.filter((photo) => photo.told && isBusy(photo)).length;
  const next = photographs.find(({ state }) => state === "waiting");
  if (next && !isUploading && underWay < MOST_UNDER_WAY) upload(next);
  showStatus();
}

async function upload(photo) {
  photo.state = "uploading";
  photo.show();
  try {
    const told = await send(photo);
    if (photo.isGone) deleteThere(told.number);
    photo.told = told;
  } catch ({ message }) {
    photo.line = message;
  }
  Object.assign(photo, { state: "", file: null }).show();
  uploadNext();
  watch();
}

async function send({ file, name, chosen }) {
  if (file.size > settings.maxBytes) {
    const most = figure(settings.maxBytes / 1e6);
    throw new Error(`the file has more than ${most} MB (--max_upload_mb ${most})`);
  }
  await file
    .slice(0, 1)
    .arrayBuffer()
    .catch(() => {
      throw new Error("this is no file that the browser can read");
    });
  return ask("POST", "photographs", { name, ...chosen }, file);
}

byId("files").addEventListener("change", ({ target }) => {
  add(target.files);
  target.value = ""; // so that the same file can be chosen again
});
for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(type, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    const isOver = type === "dragover" || type === "dragenter";
    byId("drop").classList.toggle("over", isOver);
    if (type === "drop") add(event.dataTransfer.files);
  });
}

// ---- What the program tells ----

const isBusy = (photo) => ["waiting", "uploading", "working"].includes(stateOf(photo).state);
const deleted = new Set(); // numbers
let trouble = "";
let timer = 0;
let isAsking = false;

async function watch() {
  if (isAsking) return;
  isAsking = true;
  clearTimeout(timer);
  const before = photographs.filter(({ told }) => told); // one that comes later may not be told yet
  try {
    const { labels, photographs: told } = await ask("GET", "photographs");
    checkpoints = labels;
    hearAll(before, new Map(told.map((each) => [each.number, each])));
    trouble = "";
  } catch ({ message }) {
    trouble = message[0].toUpperCase() + message.slice(1);
  }
  isAsking = false;
  uploadNext();
  const hasWork = photographs.some(isBusy);
  if (hasWork || !document.hidden) timer = setTimeout(watch, hasWork ? BUSY_MS : IDLE_MS);
}

function hearAll(before, told) {
  for (const photo of before) {
    if (photo.isGone) continue;
    const news = told.get(photo.told.number);
    if (!news) forget(photo);
    else Object.assign(photo, { told: news }).show();
  }
  if (photographs.some(({ state }) => state === "uploading")) return; // it may be one of those
  const known = new Set(photographs.map((photo) => photo.told?.number));
  for (const each of told.values()) {
    if (known.has(each.number) || deleted.has(each.number)) continue;
    const { epoch, fullSize } = each.results.at(-1);
    const chosen = { epoch, full_size: fullSize };
    addPhotograph(each.name, { told: each, chosen, state: "" });
  }
}

function showStatus() {
  const done = photographs.filter((photo) => !isBusy(photo)).length;
  const all = photographs.length;
  const isAtWork = done < all;
  const words = isAtWork ? `${done} of ${all} done` : counted(all, "photograph");
  const status = byId("status");
  status.textContent = trouble || (all ? words : "No photographs yet");
  status.className = trouble ? "silent" : isAtWork ? "live" : "";
  byId("progress").hidden = !isAtWork;
  byId("progress").value = all ? done / all : 0;
  const name = document.querySelector("h1").textContent;
  document.title = isAtWork ? `${done} of ${all} · ${name}` : name;
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) watch();
});
document.addEventListener("DOMContentLoaded", watch); // once the whole script has run
