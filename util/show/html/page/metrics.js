// Metrics beside those of doing nothing: of one picture, and of the best and newest validation.

const meanings = {
  L1: "Mean absolute difference from the target, 0 to 255: lower is better",
  PSNR: "Peak signal-to-noise ratio in decibels: higher is better",
  SSIM: "Structural similarity to the target, at most 1: higher is better",
  LPIPS: "Difference from the target as people see it, from 0: lower is better",
  SWD: "Distance from the look of real pictures (sliced Wasserstein): lower is better",
  KID: "Distance from the look of real pictures (kernel inception): lower is better",
  off: "Where B shows what A shows: how far off, on average, in pixels of A",
  SSIM_input: "Similarity of the brightness of result and input: how much stays",
};
const kindOf = (name) => (name in meanings ? name : name.replace(/_[AB]$/, ""));
const meaningOf = (name) => meanings[kindOf(name)] ?? "";

// By how much a metric is better than that of doing nothing; null where that is not known.
function gainOf(name, figures, nothing) {
  const [value, base] = [figures[name] ?? null, nothing[name] ?? null];
  if (value === null || base === null) return null;
  return settings.lowerIsBetter.includes(kindOf(name)) ? base - value : value - base;
}

// What is known of a frame: {figures, nothing}.
function judgedOf(frame) {
  if (!isTraining) {
    return { figures: frame.metrics, nothing: untouched.get(frame.title) ?? {} };
  }
  const [figures, nothing] = validations.get(frame.epoch)?.pictures[frame.number] ?? [{}, {}];
  return { figures, nothing };
}

function gainElement(gain, base) {
  const title = `Gain over doing nothing (${figure(base)}): negative if that is better`;
  const words = `${gain < 0 ? "−" : "+"}${Number(Math.abs(gain).toPrecision(3))}`;
  return make("small", { className: gain < 0 ? "worse" : "better", title }, words);
}

// The value of a metric, and its gain.
function withGain(name, figures, nothing) {
  const value = figure(figures[name] ?? null);
  const gain = gainOf(name, figures, nothing);
  return gain === null ? [value] : [value, " ", gainElement(gain, nothing[name])];
}

const term = (words, title, ...value) =>
  make("div", { title }, make("dt", {}, words), make("dd", {}, ...value));

let metric = settings.metric ?? ""; // shown where several pictures of a row are measured
const figuresOf = (frame, label) => measured.get(frame.title)?.[label] ?? {};

// The metric of one of them, and its gain; nothing if it is not measured.
function measuredOf(frame, label) {
  const figures = figuresOf(frame, label);
  return metric in figures ? withGain(metric, figures, judgedOf(frame).nothing) : [];
}

// Terms for a <dl>: each metric, or the chosen one of these labels and of doing nothing.
function terms(frame, labels = []) {
  const { figures, nothing } = judgedOf(frame);
  if (!measured.has(frame.title)) {
    return Object.keys(figures).map((name) =>
      term(name, meaningOf(name), ...withGain(name, figures, nothing)),
    );
  }
  const ofLabels = [...new Set(labels)].filter((label) => metric in figuresOf(frame, label));
  const found = ofLabels.map((label) =>
    term(caption(label), meaningOf(metric), `${metric} `, ...measuredOf(frame, label)),
  );
  if (metric in nothing) {
    found.push(term("doing nothing", meaningOf(metric), `${metric} ${figure(nothing[metric])}`));
  }
  return found;
}

// ---- Tables of metrics ----

// A row for each metric, and columns of [title, figures], with those of doing nothing at the end.
function showTable(columns, nothing, corner = "") {
  const cell = (tag, ...children) => make(tag, {}, ...children);
  const hasBase = Object.keys(nothing).length > 0;
  const titles = [...columns.map(([title]) => title), ...(hasBase ? ["doing nothing"] : [])];
  const lines = Object.keys(columns[0][1]).map((name) => {
    const values = columns.map(([, figures]) => cell("td", ...withGain(name, figures, nothing)));
    if (hasBase) values.push(cell("td", figure(nothing[name] ?? null)));
    return make("tr", {}, make("th", { title: meaningOf(name) }, name), ...values);
  });
  const head = make("tr", {}, cell("th", corner), ...titles.map((title) => cell("th", title)));
  byId("scores").replaceChildren(head, ...lines);
}

const inOrder = () => [...validations.values()].sort((a, b) => a.epoch - b.epoch);
const bestOf = (all) => all.findLast(({ isBest }) => isBest);
const judged = (at) => Object.values(at.byWeights).at(-1); // what test.py would use

// The best and the newest validation of a run.
function showScores() {
  if (!isTraining) return;
  byId("judged").hidden = validations.size === 0;
  if (byId("judged").hidden) return;
  const all = inOrder();
  const newest = all.at(-1);
  const best = bestOf(all);
  const columns = [];
  if (best && best !== newest) columns.push([`best, epoch ${best.epoch}`, judged(best)]);
  const word = best === newest ? "best and newest" : "newest";
  columns.push([`${word}, epoch ${newest.epoch}`, judged(newest)]);
  const weights = Object.keys(newest.byWeights);
  if (weights.length > 1) columns.push(["newest, without EMA", newest.byWeights[weights[0]]]);
  showTable(columns, newest.nothing);
}
