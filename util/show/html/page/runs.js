// The page of all runs: what each run's web/summary.js tells, and a comparison of those ticked.

// What is not chosen, but follows from the name, the pictures or other options.
const DERIVED = new Set(
  "name files_A files_B two_folders size_minimum size_multiple program_version isTrain".split(" "),
);
const SILENCE_S = 120; // after this long without a sign of life, a run has stopped
const byId = (id) => document.getElementById(id);
const found = new Map(); // folder -> what its summary tells
const ticked = new Set(); // folders
let measure = ""; // what the chart shows

// Strings in `children` become text nodes: no data is ever parsed as HTML.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const figure = (value) => String(Number(value.toPrecision(4)));
const nameOf = (folder) => decodeURIComponent(folder);
const color = (place) => `var(--c${place % 8})`;

// Each script calls one of these while it runs, so its own address says whose it is.
const speaker = () => document.currentScript.dataset.folder;
window.runs = {
  add(summary) {
    found.set(speaker(), summary);
  },
};
window.page = {
  alive(time_s) {
    const summary = found.get(speaker());
    if (summary) summary.now = Math.max(summary.now, time_s);
  },
};

function load(folder, file) {
  return new Promise((done) => {
    const script = make("script", { src: `${folder}/web/${file}?${Date.now()}` });
    script.dataset.folder = folder;
    script.onload = script.onerror = () => {
      script.remove();
      done();
    };
    document.head.append(script);
  });
}

function stateOf({ state, now }) {
  if (state !== "running") return state;
  return Date.now() / 1000 - now < SILENCE_S ? "running" : "stopped";
}

const generated = ({ files }) =>
  Object.entries(files).find(([label]) => !label.startsWith("real"))?.[1];

function card(folder, summary) {
  const tick = make("input", { type: "checkbox", checked: ticked.has(folder) });
  tick.ariaLabel = `Compare ${nameOf(folder)}`;
  tick.addEventListener("change", () => {
    if (tick.checked) ticked.add(folder);
    else ticked.delete(folder);
    compare();
  });
  const file = summary.pictures.map(generated).find(Boolean);
  const address = `${folder}/web/index.html`;
  const picture = file
    ? make("img", { src: `${folder}/web/images/${file}?${summary.now}`, alt: "", loading: "lazy" })
    : make("div", { className: "blank" });
  picture.addEventListener("error", () => picture.replaceWith(make("div", { className: "blank" })));
  const parts = [stateOf(summary), `epoch ${summary.epoch} of ${summary.epochs}`];
  const at = new Date(summary.now * 1000).toLocaleString([], {
    dateStyle: "medium",
    timeStyle: "short",
  });
  parts.push(at);
  const lines = [make("p", {}, parts.join(" · "))];
  if (summary.best) {
    const [epoch, figures] = summary.best;
    const words = Object.entries(figures)
      .filter(([, value]) => value !== null)
      .map(([name, value]) => `${name} ${figure(value)}`);
    lines.push(make("p", {}, `best, epoch ${epoch}: ${words.join(", ")}`));
  }
  const title = make("h2", {}, make("a", { href: address }, nameOf(folder)));
  return make("article", { className: "run" }, tick, picture, make("div", {}, title, ...lines));
}

function showRuns() {
  const all = [...found].sort(([, a], [, b]) => b.now - a.now);
  byId("runs").replaceChildren(...all.map(([folder, summary]) => card(folder, summary)));
  const words = all.length === 1 ? "1 run" : `${all.length} runs`;
  byId("status").textContent = `${words}; tick two or more to compare them`;
}

const curvesOf = ({ metrics, losses }) => ({ ...losses, ...metrics });

function chart(folders, name) {
  const [width, height, left, bottom] = [900, 256, 56, 24];
  const curves = folders.map((folder) => curvesOf(found.get(folder))[name] ?? []);
  const points = curves.flat();
  const nothing = folders.map((f) => found.get(f).nothing[name]).filter((v) => v != null);
  const values = [...points.map(([, value]) => value), ...nothing];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [first, last] = [0, Math.max(1, ...points.map(([epoch]) => epoch))];
  const x = (epoch) => left + ((epoch - first) / (last - first)) * (width - left - 8);
  const y = (value) => 8 + ((high - value) / (high - low || 1)) * (height - bottom - 16);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.ariaLabel = `${name} by epoch`;
  const line = { stroke: "var(--line)", "vector-effect": "non-scaling-stroke" };
  for (const value of [low, high]) {
    svg.append(
      draw("line", { x1: left, x2: width, y1: y(value), y2: y(value), ...line }),
      draw("text", { x: 0, y: y(value) + 4 }, figure(value)),
    );
  }
  svg.append(draw("text", { x: left, y: height - 4 }, "epoch 0"));
  svg.append(draw("text", { x: width - 8, y: height - 4, "text-anchor": "end" }, String(last)));
  for (const value of new Set(nothing)) {
    const dashes = { ...line, stroke: "var(--soft)", "stroke-dasharray": "4 4" };
    svg.append(draw("line", { x1: left, x2: width, y1: y(value), y2: y(value), ...dashes }));
  }
  curves.forEach((curve, place) => {
    const style = { fill: "none", stroke: color(place), "stroke-width": 2 };
    const at = curve.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(" ");
    svg.append(draw("polyline", { points: at, ...style, "vector-effect": "non-scaling-stroke" }));
    if (curve.length === 1) {
      const [epoch, value] = curve[0];
      svg.append(draw("circle", { cx: x(epoch), cy: y(value), r: 4, fill: color(place) }));
    }
  });
  return svg;
}

function choice(names) {
  const options = names.map((name) => make("option", { value: name }, name));
  const select = make("select", { ariaLabel: "What the chart shows" }, ...options);
  select.value = measure;
  select.addEventListener("change", () => {
    measure = select.value;
    compare();
  });
  return select;
}

function sides(folders) {
  const names = [...new Set(folders.flatMap((f) => found.get(f).pictures.map(({ name }) => name)))];
  return names.slice(0, 8).map((name) => {
    const shown = folders.flatMap((folder) => {
      const picture = found.get(folder).pictures.find((p) => p.name === name);
      const file = picture && generated(picture);
      if (!file) return [];
      const source = `${folder}/web/images/${file}?${found.get(folder).now}`;
      const image = make("img", { src: source, alt: `${name}, ${nameOf(folder)}` });
      return [make("figure", {}, image, make("figcaption", {}, nameOf(folder)))];
    });
    const rows = shown.length ? [make("div", { className: "sides" }, ...shown)] : [];
    return make("div", {}, make("h3", {}, name || "last batch"), ...rows);
  });
}

function differences(folders) {
  const each = folders.map((folder) => found.get(folder).options);
  const names = [...new Set(each.flatMap(Object.keys))].sort();
  const differ = names.filter(
    (name) => !DERIVED.has(name) && new Set(each.map((options) => options[name])).size > 1,
  );
  const head = make("tr", {}, make("th"), ...folders.map((f) => make("th", {}, nameOf(f))));
  const rows = differ.map((name) =>
    make("tr", {}, make("th", {}, name), ...each.map((o) => make("td", {}, o[name] ?? "–"))),
  );
  return make("table", { id: "differences", className: "table" }, head, ...rows);
}

function compare() {
  const folders = [...ticked].filter((folder) => found.has(folder));
  byId("compared").hidden = folders.length < 2;
  if (folders.length < 2) return;
  const names = [...new Set(folders.flatMap((f) => Object.keys(curvesOf(found.get(f)))))];
  if (!names.includes(measure)) {
    const chosen = folders.map((folder) => found.get(folder).metric);
    measure = names.find((name) => chosen.includes(name)) ?? names[0] ?? "";
  }
  const key = (words, stroke, style = "solid") => {
    const swatch = make("i");
    Object.assign(swatch.style, { borderColor: stroke, borderTopStyle: style });
    return make("span", {}, swatch, words);
  };
  const keys = folders.map((folder, place) => key(nameOf(folder), color(place)));
  if (folders.some((folder) => found.get(folder).nothing[measure] != null)) {
    keys.push(key("doing nothing", "var(--soft)", "dashed"));
  }
  byId("compared").replaceChildren(
    make("h2", {}, "Compared "),
    ...(names.length ? [choice(names), chart(folders, measure)] : []),
    make("div", { className: "keys" }, ...keys),
    ...sides(folders),
    make("div", { className: "wide" }, differences(folders)),
  );
}

async function read() {
  const folders = JSON.parse(byId("names").textContent);
  await Promise.all(folders.map((folder) => load(folder, "summary.js")));
  await Promise.all([...found.keys()].map((folder) => load(folder, "data/alive.js")));
  showRuns();
  compare();
}
read();
