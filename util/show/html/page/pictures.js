// Shows pictures: one row per epoch or result, and two pictures on top of each other to compare.
// Also the search, sorting and means of the results.

function address(row, label) {
  const file = row.files[label];
  return `images/${shrunk.has(file) ? file.replace(/png$/, "jpg") : file}?${row.version}`;
}
const pairsOf = (row) => settings.compare.filter((pair) => pair.every((l) => l in row.files));
let pairWanted = 0; // an index in settings.compare, shared by the whole page

function pairOf(row) {
  const wanted = settings.compare[pairWanted];
  const pairs = pairsOf(row);
  return pairs.includes(wanted) ? wanted : pairs[0];
}

function picture(properties = {}) {
  const image = make("img", properties);
  image.addEventListener("load", () => {
    image.classList.remove("missing");
    // Pictures not loaded yet take up as much room as this one.
    const ratio = image.naturalWidth / image.naturalHeight;
    document.documentElement.style.setProperty("--ratio", ratio);
  });
  image.addEventListener("error", () => image.classList.add("missing"));
  return image;
}

// Two pictures on top of each other, or only one if `right` is null.
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
  LPIPS: "Difference from the target as people see it, from 0: lower is better",
  SWD: "Distance from the look of real pictures (sliced Wasserstein): lower is better",
  KID: "Distance from the look of real pictures (kernel inception): lower is better",
  SSIM_input: "Similarity of the brightness of result and input: how much stays",
};
const figures = (entries) =>
  entries.map(([name, value]) => {
    const title = meanings[name] ?? "";
    return make("div", { title }, make("dt", {}, name), make("dd", {}, figure(value)));
  });

// ---- Rows: only the first `limit` have elements ----

const shown = new Map(); // key -> {row, element}, in #rows
const latest = []; // the elements for the newest rows of a training page
let batchElement = null; // that for what was just trained on
let limit = ROWS_AT_ONCE;
let isDescending = false;

function orderedRows() {
  const all = [...rows.values()];
  if (isTraining) return all.sort((a, b) => b.epoch - a.epoch || a.number - b.number);
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

// The element for a row: the old one if its labels are the same, else a new one in its place.
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
  const newest = ordered.filter(({ epoch }) => isTraining && epoch === ordered[0].epoch);
  const others = ordered.slice(newest.length);
  const wanted = others.slice(0, limit);

  const sections = isTraining ? [...latest, byId("curves")] : [];
  const isSeen = (element) => element?.getBoundingClientRect().bottom > 0;
  const places = window.scrollY > 0 ? [...sections, ...byId("rows").children] : [];
  const anchor = places.find(isSeen);
  const before = anchor?.getBoundingClientRect().top;

  // Reuse the elements, so that the sliders stay in place when new pictures arrive.
  for (const element of latest.splice(newest.length)) element.remove();
  newest.forEach((row, i) => {
    const element = elementFor(row, latest[i]);
    if (!latest[i]) byId("newest").append(element);
    latest[i] = element;
  });
  if (lastBatch) {
    const element = elementFor(lastBatch, batchElement);
    if (!batchElement) byId("batch").append(element);
    batchElement = element;
    byId("trained").hidden = false;
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
  // Keep what the user is looking at in place.
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

// ---- Search, sorting and means of the results ----

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
  byId("means").hidden = rows.size < 2; // a single result shows its own metrics
}

if (!isTraining) {
  const reorder = () => {
    limit = ROWS_AT_ONCE;
    showRows();
  };
  const direction = byId("direction");
  const showDirection = () => {
    direction.textContent = isDescending ? "↓" : "↑";
    const order = isDescending ? "descending" : "ascending";
    direction.title = direction.ariaLabel = `Sorted ${order}: reverse`;
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
