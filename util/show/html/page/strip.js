// The film strip: a slider over the epochs of one picture, with a mark at the best one.

// The frame to show: the newest, unless a row has been moved to another.
function frameOf(row) {
  return row.frames.find(({ epoch }) => epoch === row.epoch) ?? row.frames.at(-1);
}

function moveTo(row, index) {
  const frame = row.frames[Math.max(0, Math.min(row.frames.length - 1, index))];
  row.epoch = frame === row.frames.at(-1) ? null : frame.epoch; // null: moves on with the run
  shown.get(row.key)?.show();
  if (viewer.open && viewed.row === row) showViewed();
}

function filmStrip() {
  let row = null;
  const range = make("input", { type: "range", min: 0 });
  const move = (index) => moveTo(row, index);
  const first = button("", () => move(0), { title: "First epoch", className: "icon" });
  const last = button("", () => move(Infinity), { title: "Newest epoch", className: "icon" });
  const best = button("", () => move(bestAt()), { className: "best" });
  const track = make("div", { className: "track" }, best, range);
  const strip = make("div", { className: "strip", hidden: true }, first, track, last);
  const bestAt = () => {
    const epoch = bestOf(inOrder())?.epoch;
    return row.frames.findIndex((frame) => frame.epoch === epoch);
  };
  range.addEventListener("input", () => move(Number(range.value)));
  strip.show = (of) => {
    row = of;
    const { frames } = row;
    strip.hidden = frames.length < 2;
    if (strip.hidden) return;
    const frame = frameOf(row);
    const at = frames.indexOf(frame);
    range.max = frames.length - 1;
    range.value = at;
    range.ariaLabel = range.ariaValueText = `Epoch ${frame.epoch}`;
    first.textContent = count(frames[0].epoch);
    last.textContent = count(frames.at(-1).epoch);
    best.hidden = bestAt() < 0;
    best.title = best.ariaLabel = `Best epoch: ${frames[bestAt()]?.epoch}`;
    best.style.setProperty("--place", bestAt() / (frames.length - 1));
    preload(frames, at);
  };
  return strip;
}

const kept = new Map(); // address -> image, so that neighbours are there when the strip moves
const KEPT = 96;

function preload(frames, at) {
  for (const by of [1, -1, 2, -2]) {
    for (const file of Object.values(frames[at + by]?.files ?? {})) {
      const source = address(file);
      const image = kept.get(source) ?? make("img", { src: source });
      kept.delete(source); // comes last again
      kept.set(source, image);
    }
  }
  while (kept.size > KEPT) kept.delete(kept.keys().next().value);
}
