// Draws the curves of losses and of the learning rate, one chart on a canvas for each.

// The mean over the past, weighted to fall by 1/e each `span` images. Gaps stay gaps.
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

// Round numbers between two ends, about as many as asked for.
function ticks(low, high, wanted, least = 0) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(least, power * [1, 2, 5, 10].find((factor) => factor * power >= raw));
  const first = Math.ceil(low / step - 1e-9);
  const steps = Math.floor(high / step + 1e-9) - first;
  return Array.from({ length: steps + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// The first index at which a rising column reaches a value.
function reach(column, value) {
  let [low, high] = [0, column.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

const bright = window.matchMedia("(prefers-color-scheme: dark)");

// A chart of columns beside curve.images. `columns()` gives [name, values] pairs.
function chart(box, columns, hasControls) {
  const canvas = make("canvas", { tabIndex: 0 });
  canvas.setAttribute("role", "img");
  const line = make("i", { hidden: true });
  const tip = make("div", { className: "tip", hidden: true });
  const plot = make("div", { className: "plot" }, canvas, line, tip);
  const legend = make("div", { className: "legend" });
  const smoothing = make("input", {
    type: "range",
    min: 0,
    max: 100,
    value: hasControls ? 30 : 0,
  });
  // Losses differ in size, so that most of them would lie flat on a linear scale.
  const log = make("input", { type: "checkbox", checked: hasControls });
  const hidden = new Set();
  const margin = { left: 48, right: 12, top: 8, bottom: 26 };
  let series = []; // {name, values, smooth, color}
  let x = () => 0;
  let hovered = 0;
  box.append(plot);
  if (hasControls) {
    const controls = make(
      "div",
      { className: "controls" },
      make("label", {}, "Smoothing", smoothing),
      make("label", {}, log, "Log scale"),
    );
    box.querySelector("h2").after(controls);
    box.append(legend);
  }

  const visible = () => series.filter(({ name }) => !hidden.has(name));

  function update() {
    const n = curve.images.length;
    const range = n ? curve.images[n - 1] - curve.images[0] : 0;
    // At full strength the mean reaches back over a tenth of the run.
    const span = range * 0.1 * (smoothing.value / 100) ** 2;
    series = columns().map(([name, values], i) => ({
      name,
      values,
      smooth: smooth(values, span),
      color: `--c${i % 8}`,
    }));
    box.hidden = !series.some(({ values }) => values.some((value) => value !== null));
    legend.replaceChildren(...series.map(legendEntry));
    draw();
  }

  function legendEntry({ name, color, smooth }) {
    const swatch = make("i");
    swatch.style.background = `var(${color})`;
    const isOn = !hidden.has(name);
    const value = make("small", {}, figure(smooth.findLast((value) => value !== null) ?? null));
    const properties = { type: "button", ariaPressed: String(isOn), title: "Show or hide" };
    const button = make("button", properties, swatch, name, value);
    button.addEventListener("click", () => {
      if (!hidden.delete(name)) hidden.add(name);
      button.ariaPressed = String(!hidden.has(name));
      draw();
    });
    return button;
  }

  function draw() {
    const { clientWidth: width, clientHeight: height } = plot;
    const n = curve.images.length;
    if (!width || !n) return;
    const scale = window.devicePixelRatio;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(box);
    const color = (name) => style.getPropertyValue(name);

    log.disabled = visible().some(({ smooth }) => smooth.some((value) => value < 0));
    const isLog = log.checked && !log.disabled;
    const level = isLog ? Math.log10 : (value) => value;
    const isDrawn = (value) => value !== null && (!isLog || value > 0);
    let [low, high] = [Infinity, -Infinity];
    for (const { smooth } of visible()) {
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

    const [from, to] = [curve.images[0], curve.images[n - 1]];
    const [right, bottom] = [width - margin.right, height - margin.bottom];
    x = (images) =>
      to === from
        ? (margin.left + right) / 2
        : margin.left + ((images - from) / (to - from)) * (right - margin.left);
    const y = (value) => bottom - ((level(value) - low) / (high - low)) * (bottom - margin.top);

    pen.font = `12px ${style.fontFamily}`;
    pen.fillStyle = color("--soft");
    pen.strokeStyle = color("--line");
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    const [least, greatest] = isLog ? [10 ** low, 10 ** high] : [low, high];
    const factors = high - low < 3.5 ? [1, 2, 5] : [1];
    const heights =
      isLog && high - low > 1
        ? ticks(Math.floor(low), high, 5, 1).flatMap((p) => factors.map((f) => f * 10 ** p))
        : ticks(least, greatest, height / 50);
    for (const value of heights) {
      if (value < least || value > greatest) continue;
      const isSmall = value !== 0 && Math.abs(value) < 0.001;
      const words = isSmall ? value.toExponential() : figure(value);
      pen.fillText(words, margin.left - 8, y(value));
      pen.beginPath();
      pen.moveTo(margin.left, Math.round(y(value)) + 0.5);
      pen.lineTo(right, Math.round(y(value)) + 0.5);
      pen.stroke();
    }
    pen.textBaseline = "alphabetic";
    pen.textAlign = "left";
    const [firstEpoch, lastEpoch] = [curve.epochs[0], curve.epochs[n - 1]];
    const byEpoch = lastEpoch - firstEpoch > 2;
    const words = byEpoch ? "epoch" : "images";
    pen.fillText(words, margin.left, height - 4);
    const free = margin.left + pen.measureText(words).width + 20;
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

    pen.save();
    pen.beginPath();
    pen.rect(margin.left - 2, margin.top - 2, right - margin.left + 4, bottom - margin.top + 4);
    pen.clip();
    pen.lineJoin = pen.lineCap = "round";
    for (const { values, smooth, color: name } of visible()) {
      pen.strokeStyle = color(name);
      if (Number(smoothing.value)) {
        pen.globalAlpha = n > width ? 0.1 : 0.22; // as a haze where points lie close
        pen.lineWidth = 1;
        trace(values);
      }
      pen.globalAlpha = 1;
      pen.lineWidth = 1.75;
      trace(smooth);
    }
    pen.restore();

    // Points that share a column of pixels become one vertical stroke from least to greatest.
    function trace(values) {
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
      for (let i = 0; i < n; i++) {
        const value = values[i];
        if (!isDrawn(value)) {
          flush();
          isDown = false;
          continue;
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
      }
      flush();
      pen.stroke();
    }

    const latest = series.map(({ name, values }) => `${name} ${figure(values[n - 1])}`);
    canvas.ariaLabel = `${box.querySelector("h2").textContent}. Latest: ${latest.join(", ")}`;
  }

  function hover(index) {
    const n = curve.images.length;
    if (!n) return;
    hovered = Math.max(0, Math.min(n - 1, index));
    const at = x(curve.images[hovered]);
    line.hidden = tip.hidden = false;
    line.style.left = `${at}px`;
    const images = counted(curve.images[hovered], "image");
    const isSmooth = Number(smoothing.value) > 0;
    const entries = visible().map(({ name, values, smooth, color }) => {
      const swatch = make("i");
      swatch.style.background = `var(${color})`;
      const raw = isSmooth ? [make("small", {}, `raw ${figure(values[hovered])}`)] : [];
      return make("p", {}, swatch, name, make("b", {}, figure(smooth[hovered])), ...raw);
    });
    tip.replaceChildren(make("p", {}, `epoch ${curve.epochs[hovered]} · ${images}`), ...entries);
    tip.style.left = `${at}px`;
    tip.classList.toggle("left", at > plot.clientWidth / 2);
  }

  const leave = () => (line.hidden = tip.hidden = true);
  const point = (event) => {
    const at = event.clientX - plot.getBoundingClientRect().left;
    const [from, to] = [curve.images[0], curve.images[curve.images.length - 1]];
    const width = plot.clientWidth - margin.left - margin.right;
    const images = from + ((at - margin.left) / width) * (to - from);
    const next = reach(curve.images, images);
    const isPast = next && images - curve.images[next - 1] < curve.images[next] - images;
    hover(isPast ? next - 1 : next);
  };
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    const start = tip.hidden ? curve.images.length - 1 : hovered;
    hover(start + direction * Math.max(1, Math.round(curve.images.length / 100)));
  });
  smoothing.addEventListener("input", update);
  log.addEventListener("input", draw);
  bright.addEventListener("change", draw);
  new ResizeObserver(draw).observe(plot);
  return update;
}

const charts = isTraining
  ? [
      chart(byId("losses"), () => [...curve.losses], true),
      chart(byId("rates"), () => [["learning rate", curve.rates]], false),
    ]
  : [];

function showCurves() {
  for (const update of charts) update();
}
