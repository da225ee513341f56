// Reads what the run tells, from the calls in data/0001.js, 0002.js, ... (see pages.py for who
// writes them), and says how the run is doing. While the run lives, the last of these files is read
// again and again for new lines. The settings and helpers at the top serve the whole page.

const POLL_MS = 3000;
const SILENCE_S = 30 * 60; // a run that has been silent for so long is taken for dead
const ROWS_AT_ONCE = 12;
const settings = JSON.parse(document.getElementById("settings").textContent);
const byId = (id) => document.getElementById(id);
const isTraining = Boolean(byId("curves"));

// Strings among the children become text nodes: no data is ever parsed as HTML.
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

// ---- What the data files tell ----

const rows = new Map(); // epoch or name of the result -> what to show
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
  pictures(time_s, epoch, images, files) {
    progress(time_s, epoch, images);
    const title = `Epoch ${epoch}`;
    const detail = `${counted(images, "image")} · ${clock(time_s)}`;
    rows.set(epoch, { key: epoch, title, detail, files, images, version: `${images}-${time_s}` });
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
    if (reader.line++ < reader.linesDone) return; // known from an earlier reading
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

// Does the calls that are new; resolves to whether there were any.
async function readNews() {
  let news = false;
  const onError = () => (reader.damaged = true); // a line that a crash tore, or one half written
  window.addEventListener("error", onError);
  do {
    const before = reader.linesDone;
    Object.assign(reader, { line: 0, more: false, damaged: false });
    await runScript(`data/${String(reader.file).padStart(4, "0")}.js?${Date.now()}`);
    if (!reader.damaged && reader.line < reader.linesDone) location.reload(); // begun anew
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
    if (!isFirst) run.news_s = Date.now() / 1000; // the clock of the run's machine may differ
    showRows();
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
  else parts.push(`No news since ${clock(run.told_s)}: the run may have stopped`);
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
    status.append(make("button", { type: "button", onclick: () => watch() }, "Look again"));
  }
}

// ---- The command that resumes the run ----

byId("copy")?.addEventListener("click", async () => {
  const command = byId("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    byId("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(command); // no leave to write to the clipboard: Ctrl+C does
  }
});

// Not before the whole script has run.
document.addEventListener("DOMContentLoaded", () => watch(true));
// Shows pictures: a row for each epoch or result, and two pictures on top of each other to compare.
// Also the search, order and means of the results.

const address = (row, label) => `images/${row.files[label]}?${row.version}`;
const pairsOf = (row) => settings.compare.filter((pair) => pair.every((l) => l in row.files));
let pairWanted = 0; // in settings.compare; one choice for the whole page

function pairOf(row) {
  const wanted = settings.compare[pairWanted];
  const pairs = pairsOf(row);
  return pairs.includes(wanted) ? wanted : pairs[0];
}

function picture(properties = {}) {
  const image = make("img", properties);
  image.addEventListener("load", () => {
    image.classList.remove("missing");
    // Pictures that are still to be loaded take the room of those that are.
    const ratio = image.naturalWidth / image.naturalHeight;
    document.documentElement.style.setProperty("--ratio", ratio);
  });
  image.addEventListener("error", () => image.classList.add("missing"));
  return image;
}

// Two pictures on top of each other, or one: `right` is null then.
function comparison() {
  const below = picture({ loading: "lazy", draggable: false });
  const above = picture({ loading: "lazy", draggable: false, className: "above" });
  const range = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
  const stage = make("div", { className: "stage" }, below, above, make("i"), range);
  const move = () => stage.style.setProperty("--at", `${range.value}%`);
  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    range.value = (100 * (event.clientX - box.left)) / box.width;
    move();
  };
  range.addEventListener("input", move);
  stage.addEventListener("pointerdown", (event) => {
    if (range.hidden || event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    drag(event);
    range.focus({ preventScroll: true });
    event.preventDefault(); // keeps the focus there
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) drag(event);
  });
  stage.show = (row, left, right) => {
    below.src = address(row, left);
    below.alt = `${caption(left)}, ${row.title}`;
    const isPair = right !== null;
    stage.classList.toggle("pair", isPair);
    range.hidden = above.hidden = !isPair;
    if (isPair) {
      above.src = address(row, right);
      above.alt = `${caption(right)}, ${row.title}`;
      range.ariaLabel = `Share of ${caption(left)} against ${caption(right)}, in percent`;
    }
  };
  stage.reset = () => {
    range.value = 50;
    move();
  };
  stage.image = below;
  return stage;
}

function pairChoice(row) {
  const words = ([left, right]) => `${caption(left)} | ${caption(right)}`;
  const pairs = pairsOf(row);
  if (pairs.length === 1) return make("span", {}, words(pairs[0]));
  const options = pairs.map((pair) =>
    make("option", { value: settings.compare.indexOf(pair) }, words(pair)),
  );
  const choice = make("select", { ariaLabel: "Pictures to compare" }, ...options);
  choice.addEventListener("change", () => {
    pairWanted = Number(choice.value);
    for (const element of document.querySelectorAll(".row")) element.show();
    if (viewer.open) viewerStage.show(viewed.row, ...pairOf(viewed.row));
  });
  choice.show = (row) => (choice.value = settings.compare.indexOf(pairOf(row)));
  choice.show(row);
  return choice;
}

function rowElement(first) {
  let current = first;
  const title = make("h3");
  const detail = make("p", { className: "detail" });
  const metrics = make("dl", { className: "metrics" });
  const labels = Object.keys(first.files);
  const images = labels.map(() => picture({ loading: "lazy" }));
  const pictures = make("div", { className: "pictures" });
  labels.forEach((label, item) => {
    const button = make("button", { type: "button", className: "enlarge" }, images[item]);
    button.addEventListener("click", () => view(current, item));
    pictures.append(make("figure", {}, button, make("figcaption", {}, caption(label))));
  });
  const stage = pairsOf(first).length ? comparison() : null;
  const choice = stage && pairChoice(first);
  if (stage) {
    const enlarge = iconButton("Enlarge the comparison", "⤢", () => view(current, labels.length));
    pictures.append(make("figure", {}, stage, make("figcaption", {}, choice, enlarge)));
  }
  const element = make(
    "article",
    { className: "row" },
    make("header", {}, make("div", {}, title, detail), metrics),
    pictures,
  );
  element.labels = labels.join();
  element.show = (row = current) => {
    current = row;
    title.textContent = row.title;
    detail.textContent = row.detail;
    metrics.replaceChildren(...figures(Object.entries(row.metrics ?? {})));
    labels.forEach((label, item) => {
      images[item].src = address(row, label);
      images[item].alt = `${caption(label)}, ${row.title}`;
    });
    stage?.show(row, ...pairOf(row));
    choice?.show?.(row);
  };
  element.show();
  return element;
}

const meanings = {
  L1: "Mean absolute difference from the target, 0 to 255: lower is better",
  PSNR: "Peak signal-to-noise ratio in decibels: higher is better",
  SSIM: "Structural similarity to the target, at most 1: higher is better",
};
const figures = (entries) =>
  entries.map(([name, value]) => {
    const title = meanings[name] ?? "";
    return make("div", { title }, make("dt", {}, name), make("dd", {}, figure(value)));
  });

// ---- Rows: only those that are looked at have elements ----

const shown = new Map(); // key -> {row, element}, in #rows
let latest = null; // the element of the newest row of a training page
let limit = ROWS_AT_ONCE;
let isDescending = false;

function orderedRows() {
  const all = [...rows.values()];
  if (isTraining) return all.sort((a, b) => b.key - a.key);
  const words = byId("find").value.trim().toLowerCase();
  const by = byId("sort").value;
  const sign = isDescending ? -1 : 1;
  const byName = new Intl.Collator("en", { numeric: true }).compare;
  return all
    .filter((row) => row.title.toLowerCase().includes(words))
    .sort((a, b) => {
      const [x, y] = by ? [a.metrics[by] ?? null, b.metrics[by] ?? null] : [null, null];
      if (x !== null && y !== null && x !== y) return sign * (x - y);
      if ((x === null) !== (y === null)) return x === null ? 1 : -1;
      return sign * byName(a.title, b.title);
    });
}

// The element of a row, in place of one that was made for other labels.
function elementFor(row, old) {
  if (old?.labels === Object.keys(row.files).join()) {
    old.show(row);
    return old;
  }
  const element = rowElement(row);
  old?.replaceWith(element);
  return element;
}

function showRows() {
  const ordered = orderedRows();
  const [newest, ...others] = isTraining ? ordered : [null, ...ordered];
  const wanted = others.slice(0, limit);

  const sections = isTraining ? [latest, byId("curves")] : [];
  const isSeen = (element) => element?.getBoundingClientRect().bottom > 0;
  const places = window.scrollY > 0 ? [...sections, ...byId("rows").children] : [];
  const anchor = places.find(isSeen);
  const before = anchor?.getBoundingClientRect().top;

  if (newest) {
    // Always the same element: the slider stays where it was put when a new picture comes.
    const element = elementFor(newest, latest);
    if (!latest) byId("latest").append(element);
    latest = element;
  } else {
    latest?.remove();
    latest = null;
  }
  const keys = new Set(wanted.map((row) => row.key));
  for (const [key, { element }] of shown) {
    if (keys.has(key)) continue;
    element.remove();
    shown.delete(key);
  }
  wanted.forEach((row, i) => {
    const old = shown.get(row.key);
    const element = old?.row === row ? old.element : elementFor(row, old?.element);
    shown.set(row.key, { row, element });
    const place = byId("rows").children[i] ?? null;
    if (place !== element) byId("rows").insertBefore(element, place);
  });
  byId("none").hidden = ordered.length > 0;
  byId("more").hidden = others.length <= limit;
  nearEnd.disconnect();
  nearEnd.observe(byId("more"));
  if (isTraining) byId("earlier").hidden = wanted.length === 0;
  else showMeans(ordered);
  if (viewer.open) showSteps();
  // What is looked at stays where it is.
  if (anchor?.isConnected) window.scrollBy(0, anchor.getBoundingClientRect().top - before);
}

function showMore() {
  limit += ROWS_AT_ONCE;
  showRows();
}

const nearEnd = new IntersectionObserver(
  (entries) => entries.some((entry) => entry.isIntersecting) && showMore(),
  { rootMargin: "800px" },
);
byId("more").addEventListener("click", showMore);

// ---- Search, order and means of the results ----

function showMeans(list) {
  const metrics = new Set([...rows.values()].flatMap((row) => Object.keys(row.metrics)));
  const sort = byId("sort");
  for (const name of metrics) {
    if (![...sort.options].some((option) => option.value === name)) {
      sort.append(make("option", { value: name }, name));
    }
  }
  const means = [...metrics].map((name) => {
    const values = list.map((row) => row.metrics[name] ?? null).filter((value) => value !== null);
    const sum = values.reduce((total, value) => total + value, 0);
    return [name, values.length ? sum / values.length : null];
  });
  const of = list.length === rows.size ? count(rows.size) : `${list.length} of ${rows.size}`;
  const head = make(
    "div",
    {},
    make("dt", {}, means.length ? "Mean of" : "Results"),
    make("dd", {}, of),
  );
  byId("means").replaceChildren(head, ...figures(means));
  byId("means").hidden = rows.size < 2; // one result says it all itself
}

if (!isTraining) {
  const reorder = () => {
    limit = ROWS_AT_ONCE;
    showRows();
  };
  const direction = byId("direction");
  const showDirection = () => {
    direction.textContent = isDescending ? "↓" : "↑";
    direction.title = direction.ariaLabel = isDescending ? "Descending: turn" : "Ascending: turn";
  };
  direction.addEventListener("click", () => {
    isDescending = !isDescending;
    showDirection();
    reorder();
  });
  showDirection();
  byId("find").addEventListener("input", reorder);
  byId("sort").addEventListener("change", reorder);
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
}
// The enlarged view of one picture or comparison: left and right through the pictures of a row, up
// and down through the rows.

const viewer = make("dialog", { id: "viewer", ariaLabel: "Enlarged picture" });
const viewerStage = comparison();
const viewerTitle = make("span");
const viewerChoice = make("span");
const viewed = { row: null, item: 0 };
const above = iconButton(isTraining ? "Newer epoch" : "Previous result", "↑", () => stepRow(-1));
const below = iconButton(isTraining ? "Older epoch" : "Next result", "↓", () => stepRow(1));
viewer.append(
  make("div", { className: "desk" }, viewerStage),
  make(
    "div",
    { className: "bar" },
    iconButton("Previous picture", "←", () => step(-1)),
    iconButton("Next picture", "→", () => step(1)),
    make("p", {}, viewerTitle, viewerChoice),
    above,
    below,
    iconButton("Close", "×", () => viewer.close()),
  ),
);
document.body.append(viewer);

function view(row, item) {
  const labels = Object.keys(row.files);
  const isPair = item >= labels.length;
  const pair = isPair ? pairOf(row) : [labels[item], null];
  if (!viewer.open || viewed.item !== item) viewerStage.reset();
  Object.assign(viewed, { row, item });
  viewerStage.show(row, ...pair);
  viewerTitle.textContent = (isPair ? "" : `${caption(labels[item])} · `) + row.title;
  viewerChoice.replaceChildren(...(isPair ? [pairChoice(row)] : []));
  showSteps();
  if (!viewer.open) viewer.showModal();
}

function showSteps() {
  above.disabled = !rowBeside(-1);
  below.disabled = !rowBeside(1);
}

function step(by) {
  const items = Object.keys(viewed.row.files).length + (pairsOf(viewed.row).length ? 1 : 0);
  view(viewed.row, (viewed.item + by + items) % items);
}

// The row above or below, if it has such a picture too.
function rowBeside(by) {
  const ordered = orderedRows();
  const row = ordered[ordered.findIndex(({ key }) => key === viewed.row.key) + by];
  return row && viewed.item <= Object.keys(row.files).length ? row : null;
}

function stepRow(by) {
  const row = rowBeside(by);
  if (row) view(row, viewed.item);
}

viewerStage.image.addEventListener("load", ({ target }) => {
  viewerStage.style.setProperty("--own-ratio", target.naturalWidth / target.naturalHeight);
});

document.addEventListener("keydown", (event) => {
  if (!viewer.open) return;
  const isField = event.target.matches("select");
  const isSlider = event.target.matches("input");
  const across = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const along = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (isField || (isSlider && across) || !(across || along)) return;
  event.preventDefault();
  if (across) step(across);
  else stepRow(along);
});

let touched = null;
viewer.addEventListener("pointerdown", (event) => {
  const isFree = event.pointerType === "touch" && !event.target.closest(".pair, .bar");
  touched = isFree ? event : null;
});
viewer.addEventListener("pointerup", (event) => {
  if (!touched) return;
  const across = event.clientX - touched.clientX;
  const along = event.clientY - touched.clientY;
  if (Math.abs(across) > 40 && Math.abs(across) > 2 * Math.abs(along)) step(-Math.sign(across));
  touched = null;
});
viewer.addEventListener("click", (event) => {
  if (event.target.matches("dialog, .desk")) viewer.close();
});
// Draws the curves of losses and of the learning rate, one chart on a canvas for each.

// The mean over the past, weighted to fall by 1/e each `span` images. Gaps stay gaps.
function smooth(values, span) {
  let sum = 0;
  let weight = 0;
  let last = curve.images[0];
  return values.map((value, i) => {
    if (value === null || span === 0) return value;
    const fade = Math.exp((last - curve.images[i]) / span);
    last = curve.images[i];
    sum = sum * fade + value;
    weight = weight * fade + 1;
    return sum / weight;
  });
}

// Round numbers between two ends, about as many as asked for.
function ticks(low, high, wanted, least = 0) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(least, power * [1, 2, 5, 10].find((factor) => factor * power >= raw));
  const first = Math.ceil(low / step - 1e-9);
  const steps = Math.floor(high / step + 1e-9) - first;
  return Array.from({ length: steps + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// The first index at which a rising column reaches a value.
function reach(column, value) {
  let [low, high] = [0, column.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

const bright = window.matchMedia("(prefers-color-scheme: dark)");

// A chart of columns beside curve.images. `columns()` gives [name, values] pairs.
function chart(box, columns, hasControls) {
  const canvas = make("canvas", { tabIndex: 0 });
  canvas.setAttribute("role", "img");
  const line = make("i", { hidden: true });
  const tip = make("div", { className: "tip", hidden: true });
  const plot = make("div", { className: "plot" }, canvas, line, tip);
  const legend = make("div", { className: "legend" });
  const smoothing = make("input", {
    type: "range",
    min: 0,
    max: 100,
    value: hasControls ? 30 : 0,
  });
  // Losses differ in size, so that most of them would lie flat on a linear scale.
  const log = make("input", { type: "checkbox", checked: hasControls });
  const hidden = new Set();
  const margin = { left: 48, right: 12, top: 8, bottom: 26 };
  let series = []; // {name, values, smooth, color}
  let x = () => 0;
  let hovered = 0;
  box.append(plot);
  if (hasControls) {
    const controls = make(
      "div",
      { className: "controls" },
      make("label", {}, "Smoothing", smoothing),
      make("label", {}, log, "Log scale"),
    );
    box.querySelector("h2").after(controls);
    box.append(legend);
  }

  const visible = () => series.filter(({ name }) => !hidden.has(name));

  function update() {
    const n = curve.images.length;
    const range = n ? curve.images[n - 1] - curve.images[0] : 0;
    // At full strength the mean reaches back over a tenth of the run.
    const span = range * 0.1 * (smoothing.value / 100) ** 2;
    series = columns().map(([name, values], i) => ({
      name,
      values,
      smooth: smooth(values, span),
      color: `--c${i % 8}`,
    }));
    box.hidden = !series.some(({ values }) => values.some((value) => value !== null));
    legend.replaceChildren(...series.map(legendEntry));
    draw();
  }

  function legendEntry({ name, color, smooth }) {
    const swatch = make("i");
    swatch.style.background = `var(${color})`;
    const isOn = !hidden.has(name);
    const value = make("small", {}, figure(smooth.findLast((value) => value !== null) ?? null));
    const properties = { type: "button", ariaPressed: String(isOn), title: "Show or hide" };
    const button = make("button", properties, swatch, name, value);
    button.addEventListener("click", () => {
      if (!hidden.delete(name)) hidden.add(name);
      button.ariaPressed = String(!hidden.has(name));
      draw();
    });
    return button;
  }

  function draw() {
    const { clientWidth: width, clientHeight: height } = plot;
    const n = curve.images.length;
    if (!width || !n) return;
    const scale = window.devicePixelRatio;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(box);
    const color = (name) => style.getPropertyValue(name);

    log.disabled = visible().some(({ smooth }) => smooth.some((value) => value < 0));
    const isLog = log.checked && !log.disabled;
    const level = isLog ? Math.log10 : (value) => value;
    const isDrawn = (value) => value !== null && (!isLog || value > 0);
    let [low, high] = [Infinity, -Infinity];
    for (const { smooth } of visible()) {
      for (const value of smooth) {
        if (!isDrawn(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (low > high) [low, high] = [1, 1];
    if (!isLog && low > 0) low = 0;
    [low, high] = [level(low), level(high)];
    const room = (high - low || 1) * 0.06;
    [low, high] = [low === 0 && !isLog ? 0 : low - room, high + room];

    const [from, to] = [curve.images[0], curve.images[n - 1]];
    const [right, bottom] = [width - margin.right, height - margin.bottom];
    x = (images) =>
      to === from
        ? (margin.left + right) / 2
        : margin.left + ((images - from) / (to - from)) * (right - margin.left);
    const y = (value) => bottom - ((level(value) - low) / (high - low)) * (bottom - margin.top);

    pen.font = `12px ${style.fontFamily}`;
    pen.fillStyle = color("--soft");
    pen.strokeStyle = color("--line");
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    const [least, greatest] = isLog ? [10 ** low, 10 ** high] : [low, high];
    const factors = high - low < 3.5 ? [1, 2, 5] : [1];
    const heights =
      isLog && high - low > 1
        ? ticks(Math.floor(low), high, 5, 1).flatMap((p) => factors.map((f) => f * 10 ** p))
        : ticks(least, greatest, height / 50);
    for (const value of heights) {
      if (value < least || value > greatest) continue;
      const isSmall = value !== 0 && Math.abs(value) < 0.001;
      const words = isSmall ? value.toExponential() : figure(value);
      pen.fillText(words, margin.left - 8, y(value));
      pen.beginPath();
      pen.moveTo(margin.left, Math.round(y(value)) + 0.5);
      pen.lineTo(right, Math.round(y(value)) + 0.5);
      pen.stroke();
    }
    pen.textBaseline = "alphabetic";
    pen.textAlign = "left";
    const [firstEpoch, lastEpoch] = [curve.epochs[0], curve.epochs[n - 1]];
    const byEpoch = lastEpoch - firstEpoch > 2;
    const words = byEpoch ? "epoch" : "images";
    pen.fillText(words, margin.left, height - 4);
    const free = margin.left + pen.measureText(words).width + 20;
    pen.textAlign = "center";
    const marks = byEpoch
      ? ticks(firstEpoch, lastEpoch, width / 90, 1).map((epoch) => [
          curve.images[reach(curve.epochs, epoch)],
          epoch,
        ])
      : from === to
        ? [[from, from]]
        : ticks(from, to, width / 110, 1).map((images) => [images, images]);
    for (const [images, mark] of marks) {
      const half = pen.measureText(count(mark)).width / 2;
      const at = Math.min(x(images), width - half);
      if (at - half > free) pen.fillText(count(mark), at, height - 4);
    }

    pen.save();
    pen.beginPath();
    pen.rect(margin.left - 2, margin.top - 2, right - margin.left + 4, bottom - margin.top + 4);
    pen.clip();
    pen.lineJoin = pen.lineCap = "round";
    for (const { values, smooth, color: name } of visible()) {
      pen.strokeStyle = color(name);
      if (Number(smoothing.value)) {
        pen.globalAlpha = n > width ? 0.1 : 0.22; // as a haze where points lie close
        pen.lineWidth = 1;
        trace(values);
      }
      pen.globalAlpha = 1;
      pen.lineWidth = 1.75;
      trace(smooth);
    }
    pen.restore();

    // Points that share a column of pixels become one vertical stroke from least to greatest.
    function trace(values) {
      let column = null; // {at, first, least, greatest, last}
      let isDown = false;
      const flush = () => {
        if (!column) return;
        if (isDown) pen.lineTo(column.at, y(column.first));
        else pen.moveTo(column.at, y(column.first));
        pen.lineTo(column.at, y(column.least));
        pen.lineTo(column.at, y(column.greatest));
        pen.lineTo(column.at + 0.01, y(column.last)); // a lone point shows as a dot
        isDown = true;
        column = null;
      };
      pen.beginPath();
      for (let i = 0; i < n; i++) {
        const value = values[i];
        if (!isDrawn(value)) {
          flush();
          isDown = false;
          continue;
        }
        const at = Math.round(x(curve.images[i]) * scale) / scale;
        if (column && column.at === at) {
          if (value < column.least) column.least = value;
          if (value > column.greatest) column.greatest = value;
          column.last = value;
        } else {
          flush();
          column = { at, first: value, least: value, greatest: value, last: value };
        }
      }
      flush();
      pen.stroke();
    }

    const latest = series.map(({ name, values }) => `${name} ${figure(values[n - 1])}`);
    canvas.ariaLabel = `${box.querySelector("h2").textContent}. Latest: ${latest.join(", ")}`;
  }

  function hover(index) {
    const n = curve.images.length;
    if (!n) return;
    hovered = Math.max(0, Math.min(n - 1, index));
    const at = x(curve.images[hovered]);
    line.hidden = tip.hidden = false;
    line.style.left = `${at}px`;
    const images = counted(curve.images[hovered], "image");
    const isSmooth = Number(smoothing.value) > 0;
    const entries = visible().map(({ name, values, smooth, color }) => {
      const swatch = make("i");
      swatch.style.background = `var(${color})`;
      const raw = isSmooth ? [make("small", {}, `raw ${figure(values[hovered])}`)] : [];
      return make("p", {}, swatch, name, make("b", {}, figure(smooth[hovered])), ...raw);
    });
    tip.replaceChildren(make("p", {}, `epoch ${curve.epochs[hovered]} · ${images}`), ...entries);
    tip.style.left = `${at}px`;
    tip.classList.toggle("left", at > plot.clientWidth / 2);
  }

  const leave = () => (line.hidden = tip.hidden = true);
  const point = (event) => {
    const at = event.clientX - plot.getBoundingClientRect().left;
    const [from, to] = [curve.images[0], curve.images[curve.images.length - 1]];
    const width = plot.clientWidth - margin.left - margin.right;
    const images = from + ((at - margin.left) / width) * (to - from);
    const next = reach(curve.images, images);
    const isPast = next && images - curve.images[next - 1] < curve.images[next] - images;
    hover(isPast ? next - 1 : next);
  };
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    const start = tip.hidden ? curve.images.length - 1 : hovered;
    hover(start + direction * Math.max(1, Math.round(curve.images.length / 100)));
  });
  smoothing.addEventListener("input", update);
  log.addEventListener("input", draw);
  bright.addEventListener("change", draw);
  new ResizeObserver(draw).observe(plot);
  return update;
}

const charts = isTraining
  ? [
      chart(byId("losses"), () => [...curve.losses], true),
      chart(byId("rates"), () => [["learning rate", curve.rates]], false),
    ]
  : [];

function showCurves() {
  for (const update of charts) update();
}
