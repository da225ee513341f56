// Draws the parts of a chart: scales, grid lines, and curves with gaps.

// A mean of past values whose weights decay by a factor of e every `span` images. Gaps stay gaps.
function smooth(values, images, span) {
  let sum = 0;
  let weight = 0;
  let last = images[0];
  return values.map((value, i) => {
    if (value === null || span === 0) return value;
    const fade = Math.exp((last - images[i]) / span);
    last = images[i];
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
// `points` has the column `images`, and `series` those of values; `bases` are further values to make
// room for.
function axesOf(points, series, bases, { width, height, isLog, fromZero }) {
  const level = isLog ? Math.log10 : (value) => value;
  const isDrawn = (value) => value !== null && (!isLog || value > 0);
  let [low, high] = [Infinity, -Infinity];
  for (const column of [...series.map(({ smooth }) => smooth), bases]) {
    for (const value of column) {
      if (!isDrawn(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) [low, high] = [1, 1];
  if (!isLog && fromZero && low > 0) low = 0;
  [low, high] = [level(low), level(high)];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  [low, high] = [low === 0 && !isLog ? 0 : low - room, high + room];

  const [from, to] = points.range;
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  const x = (images) =>
    to === from
      ? (MARGIN.left + right) / 2
      : MARGIN.left + ((images - from) / (to - from)) * (right - MARGIN.left);
  const y = (value) => bottom - ((level(value) - low) / (high - low)) * (bottom - MARGIN.top);
  return { ...points, width, height, right, bottom, from, to, low, high, isLog, isDrawn, x, y };
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
      : ticks(least, greatest, height / 40);
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

// Draws round epoch numbers below the plot, where these epochs end, or image counts while there are
// few epochs. `ends` has the columns `images` and `epochs`.
function drawMarks(pen, { width, height, from, to, x }, ends) {
  pen.textBaseline = "alphabetic";
  pen.textAlign = "left";
  const shown = ends.epochs.filter((_, i) => from <= ends.images[i] && ends.images[i] <= to);
  const [firstEpoch, lastEpoch] = [shown[0], shown.at(-1)];
  const byEpoch = lastEpoch - firstEpoch > 2;
  const words = byEpoch ? "epoch" : "images";
  // An epoch whose end is not known is between those around it.
  const placeOf = (epoch) => {
    const { images, epochs } = ends;
    const i = reach(epochs, epoch);
    if (epochs[i] === epoch) return images[i];
    const part = (epoch - epochs[i - 1]) / (epochs[i] - epochs[i - 1]);
    return images[i - 1] + part * (images[i] - images[i - 1]);
  };
  pen.fillText(words, MARGIN.left, height - 4);
  let free = MARGIN.left + pen.measureText(words).width + 20; // up to here there are words
  pen.textAlign = "center";
  const marks = byEpoch
    ? ticks(firstEpoch, lastEpoch, width / 90, 1).map((epoch) => [placeOf(epoch), epoch])
    : from === to
      ? [[from, from]]
      : ticks(from, to, width / 110, 1).map((at) => [at, at]);
  for (const [place, mark] of marks) {
    const half = pen.measureText(count(mark)).width / 2;
    const at = Math.min(x(place), width - half);
    if (at - half <= free) continue; // epochs need not be equally long
    pen.fillText(count(mark), at, height - 4);
    free = at + half + 8;
  }
}

// Draws a curve through a column of values, with gaps. Points that share a column of pixels become
// one vertical stroke from least to greatest. A point between gaps is a dot.
function trace(pen, values, { images, isDrawn, x, y }) {
  const scale = window.devicePixelRatio;
  let column = null; // {at, first, least, greatest, last}
  let columns = 0; // drawn since the last gap
  const flush = () => {
    if (!column) return;
    if (columns++) pen.lineTo(column.at, y(column.first));
    else pen.moveTo(column.at, y(column.first));
    pen.lineTo(column.at, y(column.least));
    pen.lineTo(column.at, y(column.greatest));
    pen.lineTo(column.at, y(column.last));
  };
  const lift = () => {
    flush();
    if (columns === 1) dot(pen, column.at, y(column.last), 1.5);
    columns = 0;
    column = null;
  };
  pen.beginPath();
  values.forEach((value, i) => {
    if (!isDrawn(value)) {
      lift();
      return;
    }
    const at = Math.round(x(images[i]) * scale) / scale;
    if (column && column.at === at) {
      if (value < column.least) column.least = value;
      if (value > column.greatest) column.greatest = value;
      column.last = value;
    } else {
      flush();
      column = { at, first: value, least: value, greatest: value, last: value };
    }
  });
  lift();
  pen.stroke();
}

function dot(pen, x, y, radius) {
  pen.moveTo(x + radius, y);
  pen.arc(x, y, radius, 0, 2 * Math.PI);
}

function drawBase(pen, { right, y }, value, color) {
  pen.strokeStyle = color;
  pen.lineWidth = 1;
  pen.setLineDash([5, 4]);
  pen.beginPath();
  pen.moveTo(MARGIN.left, y(value));
  pen.lineTo(right, y(value));
  pen.stroke();
  pen.setLineDash([]);
}
