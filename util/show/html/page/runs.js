// The page of all runs: the list in index.js, what each run's web/summary.js tells, and a
// comparison of those ticked. While the page is open, it reads them again.

// What is not chosen, but follows from the name, the pictures or other options.
const DERIVED = new Set(
  "name files_A files_B two_folders size_minimum size_multiple program_version isTrain".split(" "),
);
const NOTHING_KNOWN = {
  ...{ state: "", now: 0, epoch: null, best: null },
  ...{ options: {}, losses: {}, metrics: {}, nothing: {}, pictures: [] },
};
const POLL_MS = 5000;
const MOST_PICTURES = 8; // side by side
// Folder -> {folder, name, hasPage, facts} of the list, and what has been read: {summary, text,
// isThere, alive_s, news_s}.
const entries = new Map();
const cards = new Map(); // folder -> element
const ticked = new Set(); // folders
let listed_s = 0; // when the list was written
let measure = ""; // what the chart shows

const color = (place) => `var(--c${place % 8})`;
const swatchOf = (place) => make("i", { style: `background: ${color(place)}` });
const isTold = ({ isThere, summary }) => isThere && summary;

// Each script calls one of these while it runs, so its own dataset says whose it is.
const speaker = () => entries.get(document.currentScript.dataset.folder);

function take(entry, summary) {
  const text = JSON.stringify(summary);
  entry.hasSpoken = true;
  if (text === entry.text) return;
  const news_s = entry.news_s ? now_s() : summary.now; // its machine may have a different clock
  Object.assign(entry, { summary, text, news_s });
}

window.runs = {
  list(time_s, all) {
    if (time_s === listed_s) return;
    listed_s = time_s;
    const folders = new Set(all.map(({ folder }) => folder));
    for (const folder of entries.keys()) if (!folders.has(folder)) entries.delete(folder);
    for (const each of all) {
      const entry = entries.get(each.folder) ?? { alive_s: 0, news_s: 0 };
      entries.set(each.folder, Object.assign(entry, each));
      if (!each.facts) continue;
      take(entry, each.facts);
      entry.isThere = true;
    }
  },
  add: (summary) => take(speaker(), summary),
};
window.page = { alive: (time_s) => hear(speaker(), time_s) };

// ---- The list ----

function stateOf({ summary, news_s }) {
  if (summary.state !== "running") return summary.state || "state unknown";
  return now_s() - news_s < SILENCE_S ? "running" : "stopped";
}

const generated = ({ files }) =>
  Object.entries(files).find(([label]) => !label.startsWith("real"))?.[1];

// The address of a picture that a run has shown under this name, by default of its first one.
function addressIn({ folder, summary }, name = null) {
  const shown = summary.pictures.filter((each) => name === null || each.name === name);
  const file = shown.map(generated).find(Boolean);
  return file && `${folder}/web/images/${file}?${summary.now}`;
}

// Shows a picture, or an empty plate; one that is replaced stays until the next one is there.
function thumbnail(properties = {}) {
  const image = make("img", { className: "missing", ...properties });
  image.addEventListener("load", () => image.classList.remove("missing"));
  image.addEventListener("error", () => image.classList.add("missing"));
  image.show = (address) => {
    if (address && image.getAttribute("src") !== address) image.src = address;
  };
  return image;
}

// Leaves an element alone that says so already, and whatever is selected in it.
function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function card(folder) {
  const tick = make("input", { type: "checkbox" });
  tick.addEventListener("change", () => {
    if (tick.checked) ticked.add(folder);
    else ticked.delete(folder);
    compare();
  });
  const image = thumbnail({ alt: "", loading: "lazy" });
  const link = make("a");
  const lines = ["detail", "detail", "detail worse"].map((className) => make("p", { className }));
  const words = make("div", {}, make("h2", {}, link), ...lines);
  const plate = make("div", { className: "plate" }, image);
  const element = make("article", { className: "run" }, tick, plate, words);
  element.show = (entry) => {
    element.hidden = !isTold(entry);
    if (element.hidden) return;
    const { name, hasPage, summary } = entry;
    tick.ariaLabel = `Compare ${name}`;
    image.show(addressIn(entry));
    say(link, name);
    if (hasPage) link.href = `${folder}/web/index.html`;
    else link.removeAttribute("href");
    const state = stateOf(entry);
    lines[0].classList.toggle("live", state === "running");
    say(lines[0], [state, ...progressOf(entry)].join("\u00a0· ")); // breaks only after a dot
    say(lines[1], summary.best ? bestWords(...summary.best) : "");
    say(lines[2], summary.troubles?.join("; ") ?? "");
  };
  return element;
}

function progressOf({ summary: { epoch, epochs, now }, alive_s }) {
  const parts = [];
  if (epochs) parts.push(`epoch ${count(epoch ?? 0)} of ${count(epochs)}`);
  else if (epoch !== null) parts.push(`epoch ${count(epoch)}`);
  const last_s = Math.max(now, alive_s);
  return last_s ? [...parts, clock(last_s)] : parts;
}

function bestWords(epoch, figures) {
  const values = Object.entries(figures).filter(([, value]) => value !== null);
  const words = values.map(([name, value]) => `${name}\u00a0${figure(value)}`);
  return `best, epoch ${epoch}: ${words.join(", ")}`;
}

// Runs stay where they are while the page is open; new ones come first.
function showRuns() {
  const told = [...entries.values()].filter(isTold);
  const added = told.filter(({ folder }) => !cards.has(folder));
  for (const { folder } of added.sort((a, b) => a.summary.now - b.summary.now)) {
    cards.set(folder, card(folder));
    byId("runs").prepend(cards.get(folder));
  }
  for (const [folder, element] of cards) {
    if (entries.has(folder)) {
      element.show(entries.get(folder));
    } else {
      element.remove();
      cards.delete(folder);
      ticked.delete(folder);
    }
  }
  say(byId("status"), `${counted(told.length, "run")}; tick two or more to compare them`);
}

// ---- The comparison ----

const curvesOf = ({ metrics, losses }) => ({ ...losses, ...metrics });

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// What doing nothing scores: [value, places of the runs for which it does so]. Runs that validate
// on the same pictures share a line.
function basesOf(chosen) {
  const bases = new Map();
  chosen.forEach(({ summary }, place) => {
    const value = summary.nothing[measure] ?? null;
    if (value !== null) bases.set(value, [...(bases.get(value) ?? []), place]);
  });
  return [...bases];
}

const DASH = { length: 6, gap: 4 };

// How a dashed line looks for one of those that share it: their dashes take turns.
function dashes(turn, turns) {
  const step = DASH.length + DASH.gap;
  return {
    "stroke-dasharray": `${DASH.length} ${turns * step - DASH.length}`,
    "stroke-dashoffset": -turn * step,
  };
}

function baseWords(chosen, places) {
  return `doing nothing (${places.map((place) => chosen[place].name).join(", ")})`;
}

function chart(chosen) {
  const [width, height, left, bottom] = [byId("chart").clientWidth, 256, 56, 24];
  const curves = chosen.map(({ summary }) => curvesOf(summary)[measure] ?? []);
  const bases = basesOf(chosen);
  const points = curves.flat();
  const values = [...points.map(([, value]) => value), ...bases.map(([value]) => value)];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const last = Math.max(1, ...points.map(([epoch]) => epoch));
  const x = (epoch) => left + (epoch / last) * (width - left - 8);
  const y = (value) => 8 + ((high - value) / (high - low || 1)) * (height - bottom - 16);
  const level = (value, attributes, ...children) =>
    draw("line", { x1: left, x2: width, y1: y(value), y2: y(value), ...attributes }, ...children);
  const title = (words) => draw("title", {}, words); // shown under the pointer

  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
  svg.ariaLabel = `${measure} by epoch`;
  for (const value of [low, high]) {
    svg.append(
      level(value, { stroke: "var(--line)" }),
      draw("text", { x: 0, y: y(value) + 4 }, figure(value)),
    );
  }
  svg.append(draw("text", { x: left, y: height - 4 }, "epoch 0"));
  svg.append(draw("text", { x: width - 8, y: height - 4, "text-anchor": "end" }, count(last)));
  for (const [value, places] of bases) {
    places.forEach((place, turn) => {
      const look = { stroke: color(place), class: "base", ...dashes(turn, places.length) };
      svg.append(level(value, look, title(baseWords(chosen, places))));
    });
  }
  curves.forEach((curve, place) => {
    const at = curve.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(" ");
    const style = { fill: "none", stroke: color(place), "stroke-width": 2 };
    svg.append(draw("polyline", { points: at, ...style }, title(chosen[place].name)));
    if (curve.length === 1) {
      const [epoch, value] = curve[0];
      svg.append(draw("circle", { cx: x(epoch), cy: y(value), r: 4, fill: color(place) }));
    }
  });
  return svg;
}

// A line for each run, with its newest value, and for each line of doing nothing.
function keys(chosen) {
  const key = (swatch, words, value) =>
    make("span", {}, swatch, words, make("small", {}, figure(value ?? null)));
  const ofRuns = chosen.map(({ name, summary }, place) =>
    key(swatchOf(place), name, curvesOf(summary)[measure]?.at(-1)[1]),
  );
  const ofBases = basesOf(chosen).map(([value, places]) => {
    const turns = [...places, ...places, ...places].slice(0, Math.max(3, places.length));
    const swatch = make("i", { className: "dashes" }, ...turns.map(swatchOf));
    return key(swatch, baseWords(chosen, places), value);
  });
  return [...ofRuns, ...ofBases];
}

const sidePictures = new Map(); // name of the picture, folder -> figure

function sideFigure(entry, name) {
  const key = JSON.stringify([name, entry.folder]);
  if (!sidePictures.has(key)) {
    sidePictures.set(key, make("figure", {}, thumbnail(), make("figcaption", {}, entry.name)));
  }
  const element = sidePictures.get(key);
  element.firstChild.alt = `${name}, ${entry.name}`;
  element.firstChild.show(addressIn(entry, name));
  return element;
}

function sides(chosen) {
  const names = chosen.flatMap(({ summary }) => summary.pictures.map(({ name }) => name));
  return [...new Set(names)].slice(0, MOST_PICTURES).map((name) => {
    const having = chosen.filter((entry) => addressIn(entry, name));
    const figures = having.map((entry) => sideFigure(entry, name));
    const heading = make("h3", {}, name || "last batch");
    return make("div", {}, heading, make("div", { className: "sides" }, ...figures));
  });
}

function differences(chosen) {
  const each = chosen.map(({ summary }) => summary.options);
  const names = [...new Set(each.flatMap(Object.keys))].sort();
  const differ = names.filter(
    (name) => !DERIVED.has(name) && new Set(each.map((options) => options[name])).size > 1,
  );
  const head = make("tr", {}, make("th"), ...chosen.map(({ name }) => make("th", {}, name)));
  const rows = differ.map((name) =>
    make("tr", {}, make("th", {}, name), ...each.map((o) => make("td", {}, o[name] ?? "–"))),
  );
  return [head, ...rows];
}

const measures = choice("What the chart shows", [], (name) => {
  measure = name;
  compare();
});
byId("measure").append(measures);

const chosenRuns = () =>
  [...ticked].filter((folder) => entries.has(folder)).map((f) => entries.get(f)).filter(isTold);

function compare() {
  const chosen = chosenRuns();
  byId("compared").hidden = chosen.length < 2;
  if (chosen.length < 2) return;
  const names = [...new Set(chosen.flatMap(({ summary }) => Object.keys(curvesOf(summary))))];
  if (!names.includes(measure)) {
    const judgedBy = chosen.map(({ summary }) => summary.metric);
    measure = names.find((name) => judgedBy.includes(name)) ?? names[0] ?? "";
  }
  measures.hidden = !names.length;
  measures.offer(names.map((name) => [name, name]));
  measures.value = measure;
  byId("chart").replaceChildren(...(names.length ? [chart(chosen)] : []));
  byId("keys").replaceChildren(...keys(chosen));
  byId("sides").replaceChildren(...sides(chosen));
  byId("differences").replaceChildren(...differences(chosen));
}

// ---- Reading ----

async function readSummary(entry) {
  const { folder } = entry;
  const at = (file) => `${folder}/web/${file}?${Date.now()}`;
  entry.hasSpoken = false;
  entry.isThere = await runScript(at("summary.js"), { folder });
  if (entry.isThere && !entry.hasSpoken) {
    const known = entry.summary ?? NOTHING_KNOWN;
    take(entry, { ...known, troubles: ["web/summary.js is damaged"] });
  }
  if (isTold(entry) && entry.summary.state === "running") {
    await runScript(at("data/alive.js"), { folder });
  }
}

let timer = 0;
let isReading = false;

async function read() {
  if (isReading) return;
  isReading = true;
  clearTimeout(timer);
  const shown = () => JSON.stringify(chosenRuns().map(({ folder, text }) => [folder, text]));
  const before = { listed_s, shown: shown() };
  const isListed = await runScript(`index.js?${Date.now()}`);
  const isNew = listed_s !== before.listed_s;
  const due = [...entries.values()].filter(
    ({ facts, summary }) => !facts && (isNew || summary?.state === "running"),
  );
  await Promise.all(due.map(readSummary));
  isReading = false;
  showRuns();
  if (shown() !== before.shown) compare();
  if (!isListed) say(byId("status"), "index.js, beside this page, cannot be read");
  if (!document.hidden) timer = setTimeout(read, POLL_MS);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) read();
});
window.addEventListener("resize", compare);
read();
