// The enlarged view of one picture or comparison: left and right move through the pictures of a
// row, up and down through the rows.

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

// The row above or below, if it has this picture too.
function rowBeside(by) {
  const ordered = orderedRows();
  const at = ordered.findIndex(({ key }) => key === viewed.row.key);
  const row = at < 0 ? null : ordered[at + by]; // the last batch is in no row
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
