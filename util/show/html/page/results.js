// Search, sorting and means of the results.

let isDescending = false;
const metricOf = (row) => judgedOf(row.frames[0]);

// What results are sorted by: null, or a function of a row that gives a number or null.
function sortKey() {
  const [kind, name] = JSON.parse(byId("sort").value || "[]");
  if (kind === "gain") return (row) => gainOf(name, metricOf(row).figures, metricOf(row).nothing);
  return kind ? (row) => metricOf(row).figures[name] ?? null : null;
}

function sortedResults(all) {
  const words = byId("find").value.trim().toLowerCase();
  const sign = isDescending ? -1 : 1;
  const key = sortKey();
  const byName = new Intl.Collator("en", { numeric: true }).compare;
  return all
    .filter((row) => row.key.toLowerCase().includes(words))
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

function showMeans(list) {
  const all = [...rows.values()].map(metricOf);
  const names = (of) => [...new Set(all.flatMap((each) => Object.keys(each[of])))];
  const [metrics, bases] = [names("figures"), names("nothing")];
  offerToSort("value", metrics, (name) => name);
  offerToSort("gain", bases, (name) => `gain in ${name}`);
  const isAll = list.length === rows.size;
  const found = isAll ? count(rows.size) : `${count(list.length)} of ${count(rows.size)}`;
  byId("found").textContent = isAll ? "" : found;
  const some = list.map(metricOf);
  const means = (of, columns) =>
    meansOf(
      some.map((each) => each[of]),
      columns,
    );
  showTable([[`mean of ${found}`, means("figures", metrics)]], means("nothing", bases));
  byId("scores").hidden = rows.size < 2 || !metrics.length; // one result shows its own metrics
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
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
}
