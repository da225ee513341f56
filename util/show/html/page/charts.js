// Draws the curves: one canvas chart for the losses, one for the learning rate.

// A mean of past values whose weights decay by a factor of e every `span` images. Gaps stay gaps.
function smooth(values, span) {
  let sum = 0;
  let weight = 0;
  let last = curve.images[0];
  return values.map((value, i) => {
    if (value === null || span === 0) return value;
    const fade = Math.exp((last - curve.images[i]) / span);
    last = curve.images[i];
    sum = sum * fade + value;
    weight = weight * fade + 1;
    return sum / weight;
  });
}

// Round numbers between two ends, about as many as wanted.
function ticks(low, high, wanted, least = 0) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(least, power * [1, 2, 5, 10].find((factor) => factor * power >= raw));
  const first = Math.ceil(low / step - 1e-9);
  const steps = Math.floor(high / step + 1e-9) - first;
  return Array.from({ length: steps + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// The first index at which an increasing column reaches a value.
function reach(column, value) {
  let [low, high] = [0, column.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

const MARGIN = { left: 48, right: 12, top: 8, bottom: 26 }; // around a plot, for its labels

// Maps images and values to positions in a plot of this size, and says which values can be drawn.
function axesOf(series, width, height, isLog) {
  const level = isLog ? Math.log10 : (value) => value;
  const isDrawn = (value) => value !== null && (!isLog || value > 0);
  let [low, high] = [Infinity, -Infinity];
  for (const { smooth } of series) {
    for (const value of smooth) {
      if (!isDrawn(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) [low, high] = [1, 1];
  if (!isLog && low > 0) low = 0;
  [low, high] = [level(low), level(high)];
  const room = (high - low || 1) * 0.06;
  [low, high] = [low === 0 && !isLog ? 0 : low - room, high + room];

  const [from, to] = [curve.images[0], curve.images.at(-1)];
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  const x = (images) =>
    to === from
      ? (MARGIN.left + right) / 2
      : MARGIN.left + ((images - from) / (to - from)) * (right - MARGIN.left);
  const y = (value) => bottom - ((level(value) - low) / (high - low)) * (bottom - MARGIN.top);
  return { width, height, right, bottom, from, to, low, high, isLog, isDrawn, x, y };
}

// Draws horizontal grid lines at round values, with the values to their left.
function drawLevels(pen, { height, right, low, high, isLog, y }) {
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  const [least, greatest] = isLog ? [10 ** low, 10 ** high] : [low, high];
  const factors = high - low < 3.5 ? [1, 2, 5] : [1];
  const values =
    isLog && high - low > 1
      ? ticks(Math.floor(low), high, 5, 1).flatMap((p) => factors.map((f) => f * 10 ** p))
      : ticks(least, greatest, height / 50);
  for (const value of values) {
    if (value < least || value > greatest) continue;
    const isSmall = value !== 0 && Math.abs(value) < 0.001;
    const words = isSmall ? value.toExponential() : figure(value);
    pen.fillText(words, MARGIN.left - 8, y(value));
    pen.beginPath();
    pen.moveTo(MARGIN.left, Math.round(y(value)) + 0.5);
    pen.lineTo(right, Math.round(y(value)) + 0.5);
    pen.stroke();
  }
}

// Draws round epoch numbers below the plot, or image counts while there are few epochs.
function drawMarks(pen, { width, height, from, to, x }) {
  pen.textBaseline = "alphabetic";
  pen.textAlign = "left";
  const [firstEpoch, lastEpoch] = [curve.epochs[0], curve.epochs.at(-1)];
  const byEpoch = lastEpoch - firstEpoch > 2;
  const words = byEpoch ? "epoch" : "images";
  pen.fillText(words, MARGIN.left, height - 4);
  const free = MARGIN.left + pen.measureText(words).width + 20;
  pen.textAlign = "center";
  const marks = byEpoch
    ? ticks(firstEpoch, lastEpoch, width / 90, 1).map((epoch) => [
        curve.images[reach(curve.epochs, epoch)],
        epoch,
      ])
    : from === to
      ? [[from, from]]
      : ticks(from, to, width / 110, 1).map((images) => [images, images]);
  for (const [images, mark] of marks) {
    const half = pen.measureText(count(mark)).width / 2;
    const at = Math.min(x(images), width - half);
    if (at - half > free) pen.fillText(count(mark), at, height - 4);
  }
}

// Draws a curve through a column of values, with gaps. Points that share a column of pixels become
// one vertical stroke from least to greatest.
function trace(pen, values, { isDrawn, x, y }) {
  const scale = window.devicePixelRatio;
  let column = null; // {at, first, least, greatest, last}
  let isDown = false;
  const flush = () => {
    if (!column) return;
    if (isDown) pen.lineTo(column.at, y(column.first));
    else pen.moveTo(column.at, y(column.first));
    pen.lineTo(column.at, y(column.least));
    pen.lineTo(column.at, y(column.greatest));
    pen.lineTo(column.at + 0.01, y(column.last)); // a lone point shows as a dot
    isDown = true;
    column = null;
  };
  pen.beginPath();
  values.forEach((value, i) => {
    if (!isDrawn(value)) {
      flush();
      isDown = false;
      return;
    }
    const at = Math.round(x(curve.images[i]) * scale) / scale;
    if (column && column.at === at) {
      if (value < column.least) column.least = value;
      if (value > column.greatest) column.greatest = value;
      column.last = value;
    } else {
      flush();
      column = { at, first: value, least: value, greatest: value, last: value };
    }
  });
  flush();
  pen.stroke();
}

const swatch = (color) => make("i", { style: `background: var(${color})` });

// A chart over curve.images. `columns()` returns [name, values] pairs, one for each curve.
class Chart {
  canvas = make("canvas", { tabIndex: 0, role: "img" });
  line = make("i", { hidden: true });
  tip = make("div", { className: "tip", hidden: true });
  plot = make("div", { className: "plot" }, this.canvas, this.line, this.tip);
  legend = make("div", { className: "legend" });
  series = []; // {name, values, smooth, color}
  hidden = new Set(); // names of series
  hovered = 0; // the point that `tip` describes
  axes = null; // from the last draw()

  constructor(box, columns, hasControls) {
    Object.assign(this, { box, columns });
    const properties = { type: "range", min: 0, max: 100, value: hasControls ? 30 : 0 };
    this.smoothing = make("input", properties);
    // Losses differ in magnitude, so most of them would look flat on a linear scale.
    this.log = make("input", { type: "checkbox", checked: hasControls });
    box.append(this.plot);
    if (hasControls) {
      const controls = make(
        "div",
        { className: "controls" },
        make("label", {}, "Smoothing", this.smoothing),
        make("label", {}, this.log, "Log scale"),
      );
      box.querySelector("h2").after(controls);
      box.append(this.legend);
    }
    const point = (event) => this.hover(this.nearest(event));
    const leave = () => (this.line.hidden = this.tip.hidden = true);
    this.plot.addEventListener("pointermove", point);
    this.plot.addEventListener("pointerdown", point);
    this.plot.addEventListener("pointerleave", leave);
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
    const range = curve.images.length ? curve.images.at(-1) - curve.images[0] : 0;
    // At full strength, the mean reaches back over a tenth of the run.
    const span = range * 0.1 * (this.smoothing.value / 100) ** 2;
    this.series = this.columns().map(([name, values], i) => ({
      name,
      values,
      smooth: smooth(values, span),
      color: `--c${i % 8}`,
    }));
    this.box.hidden = !this.series.some(({ values }) => values.some((value) => value !== null));
    this.legend.replaceChildren(...this.series.map((one) => this.legendEntry(one)));
    this.draw();
  }

  legendEntry({ name, color, smooth }) {
    const isOn = !this.hidden.has(name);
    const value = make("small", {}, figure(smooth.findLast((value) => value !== null) ?? null));
    const properties = { type: "button", ariaPressed: String(isOn), title: "Show or hide" };
    const button = make("button", properties, swatch(color), name, value);
    button.addEventListener("click", () => {
      if (!this.hidden.delete(name)) this.hidden.add(name);
      button.ariaPressed = String(!this.hidden.has(name));
      this.draw();
    });
    return button;
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (!width || !curve.images.length) return;
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

    this.log.disabled = this.visible.some(({ smooth }) => smooth.some((value) => value < 0));
    const isLog = this.log.checked && !this.log.disabled;
    this.axes = axesOf(this.visible, width, height, isLog);
    drawLevels(pen, this.axes);
    drawMarks(pen, this.axes);

    const { left, top } = MARGIN;
    const { right, bottom } = this.axes;
    pen.beginPath();
    pen.rect(left - 2, top - 2, right - left + 4, bottom - top + 4);
    pen.clip();
    pen.lineJoin = pen.lineCap = "round";
    for (const { values, smooth, color: name } of this.visible) {
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
    const latest = this.series.map(({ name, values }) => `${name} ${figure(values.at(-1))}`);
    const title = this.box.querySelector("h2").textContent;
    this.canvas.ariaLabel = `${title}. Latest: ${latest.join(", ")}`;
  }

  // Shows the values of one point in a tip, beside a vertical line.
  hover(index) {
    if (this.box.hidden) return;
    const i = (this.hovered = Math.max(0, Math.min(curve.images.length - 1, index)));
    const at = this.axes.x(curve.images[i]);
    this.line.hidden = this.tip.hidden = false;
    this.line.style.left = this.tip.style.left = `${at}px`;
    const isSmooth = Number(this.smoothing.value) > 0;
    const entries = this.visible.map(({ name, values, smooth, color }) => {
      const raw = isSmooth ? [make("small", {}, `raw ${figure(values[i])}`)] : [];
      return make("p", {}, swatch(color), name, make("b", {}, figure(smooth[i])), ...raw);
    });
    const head = `epoch ${curve.epochs[i]} · ${counted(curve.images[i], "image")}`;
    this.tip.replaceChildren(make("p", {}, head), ...entries);
    this.tip.classList.toggle("left", at > this.plot.clientWidth / 2);
  }

  // The point that is nearest to the pointer.
  nearest(event) {
    const at = event.clientX - this.plot.getBoundingClientRect().left;
    const [from, to] = [curve.images[0], curve.images.at(-1)];
    const width = this.plot.clientWidth - MARGIN.left - MARGIN.right;
    const images = from + ((at - MARGIN.left) / width) * (to - from);
    const next = reach(curve.images, images);
    const isPast = next && images - curve.images[next - 1] < curve.images[next] - images;
    return isPast ? next - 1 : next;
  }

  // The arrow keys move to the next point; with many points, a hundred presses cross the chart.
  step(event) {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    const n = curve.images.length;
    const start = this.tip.hidden ? n - 1 : this.hovered;
    this.hover(start + direction * Math.max(1, Math.round(n / 100)));
  }
}

const charts = isTraining
  ? [
      new Chart(byId("losses"), () => [...curve.losses], true),
      new Chart(byId("rates"), () => [["learning rate", curve.rates]], false),
    ]
  : [];

function showCurves() {
  for (const each of charts) each.update();
}
