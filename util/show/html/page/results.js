// Search, sorting and means of the results.

const ANY = "*"; // kind of notes
let isDescending = false;
const metricOf = (row) => judgedOf(row.frames[0]);

const hasNote = (row, kind) =>
  (notes.get(row.key) ?? []).some(([own]) => own && (kind === ANY || own === kind));

// What results are sorted by: null, or a function of a row that gives a number or null.
function sortKey() {
  const [kind, what] = JSON.parse(byId("sort").value || "[]");
  if (!kind) return null;
  if (kind === "told") {
    const places = new Map([...rows.keys()].map((key, place) => [key, place]));
    return (row) => places.get(row.key);
  }
  const [isGain, isPicture] = [kind.endsWith("gain"), kind.startsWith("picture")];
  const name = isPicture ? metric : what;
  return (row) => {
    const figures = isPicture ? figuresOf(row.frames[0], what) : metricOf(row).figures;
    return isGain ? gainOf(name, figures, metricOf(row).nothing) : (figures[name] ?? null);
  };
}

function sortedResults(all) {
  const words = byId("find").value.trim().toLowerCase();
  const kind = byId("kind").value;
  const sign = isDescending ? -1 : 1;
  const key = sortKey();
  const byName = new Intl.Collator("en", { numeric: true }).compare;
  return all
    .filter((row) => row.key.toLowerCase().includes(words) && (!kind || hasNote(row, kind)))
    .map((row) => [key ? key(row) : null, row])
    .sort(([x, a], [y, b]) => {
      if (x !== null && y !== null && x !== y) return sign * (x - y);
      if ((x === null) !== (y === null)) return x === null ? 1 : -1;
      return sign * byName(a.key, b.key);
    })
    .map(([, row]) => row);
}

// The mean of each metric of a list of {name: value}, over those that have it.
function meansOf(list, names) {
  return Object.fromEntries(
    names.map((name) => {
      const values = list.map((figures) => figures[name] ?? null).filter((v) => v !== null);
      const sum = values.reduce((total, value) => total + value, 0);
      return [name, values.length ? sum / values.length : null];
    }),
  );
}

const namesIn = (list) => [...new Set(list.flatMap(Object.keys))];

function showMeans(list) {
  const all = [...rows.values()];
  const labels = namesIn([...measured.values()]);
  const ofLabel = (some, label) => some.map((row) => figuresOf(row.frames[0], label));
  const metrics = labels.length
    ? namesIn(labels.flatMap((label) => ofLabel(all, label)))
    : namesIn(all.map((row) => metricOf(row).figures));
  const bases = namesIn(all.map((row) => metricOf(row).nothing));
  offerMetrics(labels.length ? metrics : []);
  if (labels.length) {
    offerToSort("picture", labels, caption);
    if (bases.length) offerToSort("picture gain", labels, (label) => `gain of ${caption(label)}`);
  } else {
    offerToSort("value", metrics, (name) => name);
    offerToSort("gain", bases, (name) => `gain in ${name}`);
  }
  const isAll = list.length === rows.size;
  const found = isAll ? count(rows.size) : `${count(list.length)} of ${count(rows.size)}`;
  byId("found").textContent = isAll ? "" : found;
  const means = `mean of ${found}`;
  const columns = labels.length
    ? labels.map((label) => [caption(label), meansOf(ofLabel(list, label), metrics)])
    : [[means, meansOf(list.map((row) => metricOf(row).figures), metrics)]];
  const nothing = meansOf(list.map((row) => metricOf(row).nothing), bases);
  showTable(columns, nothing, labels.length ? means : "");
  const isShown = labels.length || rows.size > 1; // one result shows its own metrics
  byId("scores").hidden = !isShown || !metrics.length;
}

// The notes of all, and the kinds of those of single results to choose by.
function showNotes() {
  byId("about").replaceChildren(...noteItems(""));
  byId("about").hidden = !notes.has("");
  const all = [...rows.values()];
  const ofRows = all.flatMap((row) => notes.get(row.key) ?? []);
  const kinds = [...new Set(ofRows.map(([kind]) => kind))].filter(Boolean);
  const counts = [ANY, ...kinds].map((kind) => [kind, all.filter((r) => hasNote(r, kind)).length]);
  const select = byId("kind");
  select.parentElement.hidden = !kinds.length;
  const chosen = select.value;
  const options = [["", `all (${count(all.length)})`]];
  for (const [kind, number] of counts) {
    options.push([kind, `${kind === ANY ? "with findings" : kind} (${count(number)})`]);
  }
  select.replaceChildren(...options.map(([value, words]) => make("option", { value }, words)));
  select.value = chosen;
}

// Where several pictures of a row are measured, people choose the metric that stands below them.
function offerMetrics(names) {
  const select = byId("metric");
  select.parentElement.hidden = !names.length;
  if (!names.length) return;
  if (!names.includes(metric)) metric = names[0];
  const missing = names.filter((name) => ![...select.options].some(({ value }) => value === name));
  select.append(...missing.map((name) => make("option", { value: name }, name)));
  select.title = meaningOf(metric);
  select.value = metric;
}

function offerToSort(kind, names, wordsOf) {
  const sort = byId("sort");
  for (const name of names) {
    const value = JSON.stringify([kind, name]);
    if ([...sort.options].some((option) => option.value === value)) continue;
    sort.append(make("option", { value }, wordsOf(name)));
  }
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
  byId("kind").addEventListener("change", reorder);
  byId("metric").addEventListener("change", () => {
    metric = byId("metric").value;
    reorder();
  });
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
}
