// The enlarged view of a row: two of its pictures under a line to move, one of them while the other
// is a press away, or their difference; with the film strip, and with zoom.

const MODES = {
  slider: ["Slider", "s", "The first picture to the left of a line, the second to the right"],
  hold: ["Hold", "h", "The second picture, and the first while you press on it"],
  difference: ["Difference", "d", "How far both are apart in each channel, times 4"],
};
const KEYS = [
  ["← →", isTraining ? "older and newer epoch" : `previous and next ${settings.thing}`],
  ...(isTraining ? [["Home End", "first and newest epoch"]] : []),
  ["↑ ↓", isTraining ? "previous and next picture" : `previous and next ${settings.thing}`],
  ["Space, held", "the first picture instead of the second"],
  ...Object.values(MODES).map(([name, key, words]) => [
    key.toUpperCase(),
    `${name}: ${words[0].toLowerCase()}${words.slice(1)}`,
  ]),
  ["X", "swap both pictures"],
  ["+ −, wheel", "zoom, also with two fingers or two clicks"],
  ["0 1", "as large as fits, and one pixel of the picture for each of the screen (100%)"],
  ["drag", "move the picture, or the line"],
  ["Esc", "close"],
];
const NEAR_PX = 28; // from the line, to take hold of it

const viewer = make("dialog", { id: "viewer", ariaLabel: "Enlarged picture", tabIndex: -1 });
const viewed = { row: null, pair: [], mode: "slider" };
const stage = comparison("eager");
const zoom = new Zoom(stage, () => {
  percent.textContent = `${Math.round(100 * zoom.magnification)}%`;
});

const viewerTitle = make("h2");
const viewerMetrics = make("dl", { className: "metrics" });
const viewerStrip = filmStrip();
const hint = make("dl", { id: "hint", hidden: true });
hint.append(...KEYS.flatMap(([key, words]) => [make("dt", {}, key), make("dd", {}, words)]));
const above = iconButton("Previous picture", "↑", () => stepRow(-1));
const below = iconButton("Next picture", "↓", () => stepRow(1));
const choices = ["First picture", "Second picture"].map((title, i) =>
  choice(title, [], (label) => {
    viewed.pair[i] = label;
    showViewed();
    viewer.focus();
  }),
);
const modes = Object.entries(MODES).map(([mode, [name, key, words]]) => {
  const title = `${words} (${key.toUpperCase()})`;
  return button(name, () => setMode(mode), { title, value: mode, className: "mode" });
});
const percent = make("output");
viewer.append(
  make(
    "header",
    {},
    make("div", {}, viewerTitle, viewerMetrics),
    iconButton("Keys (?)", "?", () => (hint.hidden = !hint.hidden)),
    iconButton("Close (Esc)", "×", () => viewer.close()),
  ),
  stage,
  hint,
  viewerStrip,
  make(
    "footer",
    {},
    make("div", {}, above, below),
    make("div", { className: "chosen" }, choices[0], "|", choices[1]),
    make("div", { className: "modes" }, ...modes),
    make(
      "div",
      { className: "zoom" },
      iconButton("Zoom out (−)", "−", () => zoom.by(1 / 1.5)),
      percent,
      iconButton("Zoom in (+)", "+", () => zoom.by(1.5)),
      iconButton("As large as fits (0)", "Fit", () => zoom.fit()),
      iconButton("A pixel of the picture for each of the screen (1)", "100%", () => zoom.actual()),
    ),
  ),
);
document.body.append(viewer);

function view(row, pair, mode) {
  Object.assign(viewed, { row, pair: [...pair] });
  hint.hidden = true;
  zoom.fit();
  setLine(50);
  viewer.showModal();
  setMode(mode);
  viewer.focus(); // no button takes the space bar
}

function setMode(mode) {
  viewed.mode = mode;
  showViewed();
}

function showViewed() {
  const { row, mode } = viewed;
  const frame = frameOf(row);
  const labels = Object.keys(frame.files);
  const lacks = viewed.pair.some((label) => !labels.includes(label));
  if (lacks) viewed.pair = partnersOf(frame.files, labels[0]); // another epoch had other pictures
  stage.show(frame, viewed.pair);
  stage.dataset.mode = mode;
  viewerTitle.textContent = frame.title;
  viewerMetrics.replaceChildren(...(row.key === "batch" ? [] : terms(frame, viewed.pair)));
  choices.forEach((select, i) => {
    select.offer(labels.map((label) => [label, caption(label)]));
    select.value = viewed.pair[i];
  });
  for (const each of modes) each.ariaPressed = String(each.value === mode);
  viewerStrip.show(row);
  above.disabled = !rowBeside(-1);
  below.disabled = !rowBeside(1);
}

// The row above or below; the last batch is beside none.
function rowBeside(by) {
  const ordered = orderedRows();
  const at = ordered.findIndex(({ key }) => key === viewed.row.key);
  return at < 0 ? undefined : ordered[at + by];
}

function stepRow(by) {
  const row = rowBeside(by);
  if (!row) return;
  viewed.row = row;
  showViewed();
}

function stepFrame(by) {
  if (isTraining) moveTo(viewed.row, viewed.row.frames.indexOf(frameOf(viewed.row)) + by);
  else stepRow(by);
}

// ---- Keys and pointers ----

const actions = {
  ArrowLeft: () => stepFrame(-1),
  ArrowRight: () => stepFrame(1),
  ArrowUp: () => stepRow(-1),
  ArrowDown: () => stepRow(1),
  Home: () => stepFrame(-Infinity),
  End: () => stepFrame(Infinity),
  " ": () => stage.classList.add("held"),
  "+": () => zoom.by(1.5),
  "=": () => zoom.by(1.5),
  "-": () => zoom.by(1 / 1.5),
  0: () => zoom.fit(),
  1: () => zoom.actual(),
  x: () => {
    viewed.pair.reverse();
    showViewed();
  },
  "?": () => (hint.hidden = !hint.hidden),
  ...Object.fromEntries(Object.entries(MODES).map(([mode, [, key]]) => [key, () => setMode(mode)])),
};

viewer.addEventListener("keydown", (event) => {
  const { target, key } = event;
  const isOwn =
    target.matches("select") ||
    (target.matches("button") && key === " ") ||
    (target === stage.range && key.startsWith("Arrow"));
  const action = actions[key.length === 1 ? key.toLowerCase() : key];
  if (!action || isOwn || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
});
viewer.addEventListener("keyup", ({ key }) => key === " " && stage.classList.remove("held"));
viewer.addEventListener("close", () => stage.classList.remove("held"));
// After a click on a button, the space bar is for the picture again.
viewer.addEventListener("click", ({ detail, target }) => {
  if (detail && target.closest("button")) viewer.focus();
});

const placeOf = (event) => {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const fingers = new Map(); // where pointers that are down last were, by id; a mouse is one too
let dragged = ""; // "line" or "picture"
let lineBefore = 50; // where the line was before the first finger moved it

function setLine(share) {
  stage.range.value = share;
  stage.range.dispatchEvent(new Event("input"));
}

// Two fingers zoom by how far they are apart, and move what lies between them.
function pinch(before, after) {
  const apart = ([[a, b], [c, d]]) => Math.max(1, Math.hypot(a - c, b - d));
  const middle = ([[a, b], [c, d]]) => [(a + c) / 2, (b + d) / 2];
  const [from, to] = [middle(before), middle(after)];
  zoom.by(apart(after) / apart(before), from);
  zoom.pan(to[0] - from[0], to[1] - from[1]);
}

stage.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  viewer.focus();
  stage.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, placeOf(event));
  if (fingers.size > 1) {
    if (dragged === "line") setLine(lineBefore);
    dragged = "picture";
    stage.classList.remove("held");
    return;
  }
  lineBefore = stage.range.value;
  const isLine =
    Math.abs(placeOf(event)[0] - (lineBefore / 100) * stage.clientWidth) < NEAR_PX ||
    !zoom.isPannable;
  dragged = viewed.mode === "slider" && isLine ? "line" : "picture";
  if (dragged === "line") stage.moveTo(event.clientX);
  else if (viewed.mode === "hold") stage.classList.add("held");
});
stage.addEventListener("pointermove", (event) => {
  if (!fingers.has(event.pointerId)) return;
  const before = [...fingers.values()];
  fingers.set(event.pointerId, placeOf(event));
  const after = [...fingers.values()];
  if (dragged === "line") stage.moveTo(event.clientX);
  else if (after.length > 1) pinch(before, after);
  else zoom.pan(after[0][0] - before[0][0], after[0][1] - before[0][1]);
});
for (const type of ["pointerup", "pointercancel"]) {
  stage.addEventListener(type, ({ pointerId }) => {
    fingers.delete(pointerId); // one that stays moves the picture on
    stage.classList.remove("held");
  });
}
stage.addEventListener("dblclick", (event) => {
  if (zoom.scale === null) zoom.actual(placeOf(event));
  else zoom.fit();
});
stage.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    zoom.by(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), placeOf(event));
  },
  { passive: false },
);
