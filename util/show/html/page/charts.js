// A chart in a canvas: its values under the pointer, a stretch of it by dragging, its data as CSV.

const swatch = (color) => make("i", { style: `background: var(${color})` });

// All charts show the same stretch of the run: [from, to] in images, or null for all of it.
let stretch = null;

function setStretch(range) {
  stretch = range;
  for (const chart of charts) chart.draw();
}

// Where the epochs of the run end: at the last point of each, but the newest may still go on.
function epochEnds() {
  const { images, epochs } = curve;
  const newest = epochs.length - 1;
  const ends = [...epochs.keys()].filter((i) => i < newest && epochs[i + 1] > epochs[i]);
  const since = (column) => column[newest] - (column[ends.at(-1)] ?? 0);
  if (since(images) >= since(epochs) * settings.imagesPerEpoch) ends.push(newest);
  return { images: ends.map((i) => images[i]), epochs: ends.map((i) => epochs[i]) };
}

// `data()` returns {points, columns, bases, best}: columns `images` and `epochs`; [name, values] for
// each curve; values for dashed lines, by name; and the index of a point to mark, or -1.
class Chart {
  canvas = make("canvas", { tabIndex: 0, role: "img" });
  line = make("i", { hidden: true });
  chosen = make("i", { className: "chosen", hidden: true });
  tip = make("div", { className: "tip", hidden: true });
  plot = make("div", { className: "plot" }, this.canvas, this.chosen, this.line, this.tip);
  legend = make("div", { className: "legend" });
  whole = button("Whole run", () => setStretch(null), { className: "whole", hidden: true });
  series = []; // {name, values, smooth, color}
  hidden = new Set(); // names of series
  hovered = 0; // the point that `tip` describes
  axes = null; // from the last draw()

  constructor(box, data, { hasControls = false, fromZero = true } = {}) {
    Object.assign(this, { box, data, fromZero });
    const properties = { type: "range", min: 0, max: 100, value: hasControls ? 30 : 0 };
    this.smoothing = make("input", properties);
    // Losses differ in magnitude, so most of them would look flat on a linear scale.
    this.log = make("input", { type: "checkbox", checked: hasControls });
    this.controls = make("div", { className: "controls" }, this.whole);
    if (hasControls) {
      this.controls.append(
        make("label", {}, "Smoothing", this.smoothing),
        make("label", {}, this.log, "Log scale"),
      );
    }
    box.querySelector("header").append(this.controls);
    box.append(this.plot, this.legend);
    this.listen();
  }

  listen() {
    const leave = () => (this.line.hidden = this.tip.hidden = true);
    this.plot.addEventListener("pointerdown", (event) => this.startDrag(event));
    this.plot.addEventListener("pointermove", (event) => {
      this.hover(this.nearest(this.placeOf(event)));
      this.showDrag(event);
    });
    this.plot.addEventListener("pointerup", (event) => this.endDrag(event));
    this.plot.addEventListener("pointercancel", () => this.cancelDrag());
    this.plot.addEventListener("pointerleave", leave);
    this.plot.addEventListener("dblclick", () => setStretch(null));
    this.canvas.addEventListener("blur", leave);
    this.canvas.addEventListener("keydown", (event) => this.step(event));
    this.smoothing.addEventListener("input", () => this.update());
    this.log.addEventListener("input", () => this.draw());
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  // The series not hidden through the legend.
  get visible() {
    return this.series.filter(({ name }) => !this.hidden.has(name));
  }

  update() {
    const { points, columns, bases = {}, best = -1 } = this.data();
    const { images } = points;
    const length = images.length ? images.at(-1) - images[0] : 0;
    // At full strength, the mean reaches back over a tenth of the run.
    const span = length * 0.1 * (this.smoothing.value / 100) ** 2;
    this.series = columns.map(([name, values], i) => ({
      name,
      values,
      smooth: smooth(values, images, span),
      color: `--c${i % 8}`,
    }));
    Object.assign(this, { points, bases, best });
    this.box.hidden = !this.series.some(({ values }) => values.some((value) => value !== null));
    const isNamed = this.series.length > 1 || Object.keys(bases).length > 0;
    this.legend.replaceChildren(
      ...(isNamed ? this.series.map((one) => this.legendEntry(one)) : []),
      ...Object.entries(bases).map(([name, value]) =>
        make("span", { className: "base" }, make("i"), name, make("small", {}, figure(value))),
      ),
    );
    this.draw();
  }

  legendEntry({ name, color, smooth }) {
    const isOn = !this.hidden.has(name);
    const value = make("small", {}, figure(smooth.findLast((value) => value !== null) ?? null));
    const title = lossMeaning(name) || "Show or hide";
    const entry = make("button", { type: "button", ariaPressed: String(isOn), title });
    entry.append(swatch(color), name, value);
    entry.addEventListener("click", () => {
      if (!this.hidden.delete(name)) this.hidden.add(name);
      entry.ariaPressed = String(!this.hidden.has(name));
      this.draw();
    });
    return entry;
  }

  // The part in the stretch, with one point more at each end, to which the lines lead.
  inStretch() {
    const { images } = this.points;
    const [from, to] = stretch ?? [images[0], images.at(-1)];
    const first = Math.max(0, reach(images, from) - 1);
    const end = reach(images, to + 1) + 1;
    const part = (column) => column.slice(first, end);
    const points = { images: part(images), range: [from, to] };
    const series = this.visible.map((one) => ({
      ...one,
      values: part(one.values),
      smooth: part(one.smooth),
    }));
    return [points, series];
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (!width || !this.points?.images.length) return;
    const scale = window.devicePixelRatio;
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(this.box);
    const color = (name) => style.getPropertyValue(name);
    pen.font = `12px ${style.fontFamily}`;
    pen.fillStyle = color("--soft");
    pen.strokeStyle = color("--line");

    this.whole.hidden = stretch === null;
    this.log.disabled = this.visible.some(({ smooth }) => smooth.some((value) => value < 0));
    const isLog = this.log.checked && !this.log.disabled;
    const [points, series] = this.inStretch();
    const size = { width, height, isLog, fromZero: this.fromZero };
    const before = this.axes;
    this.axes = axesOf(points, series, Object.values(this.bases), size);
    if (before && (before.from !== this.axes.from || before.to !== this.axes.to)) {
      this.line.hidden = this.tip.hidden = true; // they would stand elsewhere now
    }
    drawLevels(pen, this.axes);
    drawMarks(pen, this.axes, epochEnds());

    const { left, top } = MARGIN;
    const { right, bottom } = this.axes;
    pen.beginPath();
    pen.rect(left - 6, top - 6, right - left + 12, bottom - top + 12);
    pen.clip();
    pen.lineJoin = pen.lineCap = "round";
    for (const value of Object.values(this.bases)) {
      drawBase(pen, this.axes, value, color("--soft"));
    }
    for (const { values, smooth, color: name } of series) {
      pen.strokeStyle = color(name);
      if (Number(this.smoothing.value)) {
        pen.globalAlpha = values.length > width ? 0.1 : 0.22; // fainter where points are dense
        pen.lineWidth = 1;
        trace(pen, values, this.axes);
      }
      pen.globalAlpha = 1;
      pen.lineWidth = 1.75;
      trace(pen, smooth, this.axes);
    }
    this.drawBest(pen, color);
    const latest = this.series.map(({ name, values }) => `${name} ${figure(values.at(-1))}`);
    const title = this.box.querySelector("h2, h3").textContent;
    this.canvas.ariaLabel = `${title}. Latest: ${latest.join(", ")}`;
  }

  drawBest(pen, color) {
    const value = this.visible.at(-1)?.smooth[this.best] ?? null;
    if (value === null) return;
    pen.strokeStyle = color(this.visible.at(-1).color);
    pen.fillStyle = color("--paper");
    pen.lineWidth = 2;
    pen.beginPath();
    dot(pen, this.axes.x(this.points.images[this.best]), this.axes.y(value), 4.5);
    pen.fill();
    pen.stroke();
  }

  // Shows the values of one point in a tip, beside a vertical line.
  hover(index) {
    const { images, epochs } = this.points;
    const i = (this.hovered = Math.max(0, Math.min(images.length - 1, index)));
    const at = this.axes.x(images[i]);
    this.line.hidden = this.tip.hidden = false;
    this.line.style.left = this.tip.style.left = `${at}px`;
    const isSmooth = Number(this.smoothing.value) > 0;
    const entries = this.visible.map(({ name, values, smooth, color }) => {
      const raw = isSmooth ? [make("small", {}, `raw ${figure(values[i])}`)] : [];
      return make("p", {}, swatch(color), name, make("b", {}, figure(smooth[i])), ...raw);
    });
    const best = i === this.best ? " · best" : "";
    const head = `epoch ${epochs[i]} · ${counted(images[i], "image")}${best}`;
    this.tip.replaceChildren(make("p", {}, head), ...entries);
    this.tip.classList.toggle("left", at > this.plot.clientWidth / 2);
  }

  placeOf(event) {
    return event.clientX - this.plot.getBoundingClientRect().left;
  }

  imagesAt(place) {
    const { from, to, right } = this.axes;
    const inside = Math.max(MARGIN.left, Math.min(right, place));
    return from + ((inside - MARGIN.left) / (right - MARGIN.left)) * (to - from);
  }

  // The point that is nearest to a place.
  nearest(place) {
    const { images } = this.points;
    const wanted = this.imagesAt(place);
    const next = reach(images, wanted);
    const isPast = next && !(images[next] - wanted < wanted - images[next - 1]);
    return isPast ? next - 1 : next;
  }

  // The arrow keys move to the next point; with many points, a hundred presses cross the chart.
  step(event) {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    const n = this.points.images.length;
    const start = this.tip.hidden ? n - 1 : this.hovered;
    this.hover(start + direction * Math.max(1, Math.round(n / 100)));
  }

  // ---- Dragging chooses a stretch ----

  startDrag(event) {
    this.hover(this.nearest(this.placeOf(event)));
    if (event.button !== 0) return;
    this.plot.setPointerCapture(event.pointerId);
    this.dragged = this.placeOf(event);
  }

  showDrag(event) {
    if (this.dragged === undefined) return;
    const [from, to] = [this.dragged, this.placeOf(event)].sort((a, b) => a - b);
    this.chosen.hidden = to - from < 8;
    Object.assign(this.chosen.style, { left: `${from}px`, width: `${to - from}px` });
  }

  endDrag(event) {
    const wanted = [this.dragged, this.placeOf(event)].map((place) => this.imagesAt(place));
    const isWide = !this.chosen.hidden;
    this.cancelDrag();
    const [from, to] = wanted.sort((a, b) => a - b);
    if (isWide && to > from) setStretch([from, to]);
  }

  cancelDrag() {
    this.dragged = undefined;
    this.chosen.hidden = true;
  }
}
