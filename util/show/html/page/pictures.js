// Rows of pictures: one for each result, or for each picture that a run shows.

const ROWS_AT_ONCE = 12;

// The pictures of a row are as large as the window allows: see .row in page.css.
function noteSize(row, { naturalWidth, naturalHeight }) {
  const own = Math.max(naturalWidth, Number(row.style.getPropertyValue("--own")));
  for (const element of [row, document.documentElement]) {
    element.style.setProperty("--own", own); // pictures not loaded yet take up as much room
    element.style.setProperty("--ratio", naturalWidth / naturalHeight);
  }
}

// Notes as items of a list, those of a kind with its name before.
const noteItems = (name) =>
  (notes.get(name) ?? []).map(([kind, words]) =>
    make("li", {}, ...(kind ? [make("b", {}, kind), " "] : []), words),
  );

function rowElement(row) {
  const title = make("h3");
  const detail = make("p", { className: "detail" });
  const metrics = make("dl", { className: "metrics" });
  const noted = make("ul", { className: "notes" });
  const pictures = make("div", { className: "pictures" });
  const strip = filmStrip();
  const header = make("header", {}, make("div", {}, title, detail), metrics);
  const element = make("article", { className: "row" }, header, noted, pictures, strip);
  const open = (pair, mode) => view(element.row, pair, mode);
  let images = {}; // by label
  let values = {}; // by label: where the metric of a picture stands
  let compared = null; // {stage, pairs}

  // Anew only if an epoch has other labels, so that sliders stay in place.
  function build(labels, files) {
    images = Object.fromEntries(labels.map((label) => [label, picture({ loading: "lazy" })]));
    values = Object.fromEntries(labels.map((label) => [label, make("span")]));
    const figures = labels.map((label) => {
      const enlarge = button(images[label], () => open(partnersOf(files, label), "hold"), {
        className: "enlarge",
      });
      const words = make("figcaption", {}, make("span", {}, caption(label)), values[label]);
      return make("figure", {}, enlarge, words);
    });
    compared = null;
    if (pairsOf(files).length) {
      compared = { stage: slide(comparison("lazy")), pairs: pairChoice(files) };
      const enlarge = iconButton("Enlarge the comparison", "⤢", () =>
        open(pairOf(files), "slider"),
      );
      const below = make("figcaption", {}, compared.pairs, enlarge);
      figures.push(make("figure", {}, compared.stage, below));
    }
    element.style.setProperty("--count", figures.length);
    pictures.replaceChildren(...figures);
  }

  pictures.addEventListener("load", ({ target }) => noteSize(element, target), true);
  element.show = (of = element.row) => {
    element.row = of;
    const frame = frameOf(of);
    const labels = Object.keys(frame.files);
    if (labels.join() !== Object.keys(images).join()) build(labels, frame.files);
    title.textContent = frame.title;
    detail.textContent = frame.detail;
    metrics.replaceChildren(...(of.key === "batch" ? [] : terms(frame)));
    noted.replaceChildren(...noteItems(of.key));
    noted.hidden = !noted.children.length;
    for (const label of labels) {
      images[label].show(frame, label);
      values[label].replaceChildren(...measuredOf(frame, label));
    }
    if (compared) {
      compared.stage.show(frame, pairOf(frame.files));
      compared.pairs.show?.();
    }
    strip.show(of);
  };
  element.show(row);
  return element;
}

// A picture, after the one that it is best compared with.
function partnersOf(files, label) {
  const pair = pairsOf(files).find((labels) => labels.includes(label));
  const other = pair?.find((each) => each !== label) ?? Object.keys(files).find((l) => l !== label);
  return [other ?? label, label];
}

// ---- Rows: only the first `limit` have elements ----

const shown = new Map(); // key -> element
let limit = ROWS_AT_ONCE;

function orderedRows() {
  const all = [...rows.values()];
  if (!isTraining) return sortedResults(all);
  const newest = ({ frames }) => frames.at(-1).epoch;
  return all.sort((a, b) => newest(b) - newest(a) || a.number - b.number);
}

// Shows a row in the element that it has, or in a new one at this place.
function showRow(row, parent, index) {
  const element = shown.get(row.key) ?? rowElement(row);
  shown.set(row.key, element);
  element.show(row);
  const there = parent.children[index] ?? null;
  if (there !== element) parent.insertBefore(element, there);
}

function showRows() {
  const ordered = orderedRows();
  const wanted = ordered.slice(0, limit);
  const keys = new Set([...wanted.map(({ key }) => key), "batch"]);
  for (const [key, element] of shown) {
    if (keys.has(key)) continue;
    element.remove();
    shown.delete(key);
  }
  wanted.forEach((row, i) => showRow(row, byId("rows"), i));
  if (lastBatch) {
    showRow(lastBatch, byId("batch"), 0);
    byId("trained").hidden = false;
  }
  byId("none").hidden = ordered.length > 0;
  byId("more").hidden = ordered.length <= limit;
  nearEnd.disconnect();
  nearEnd.observe(byId("more"));
  if (!isTraining) showMeans(ordered);
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
