// Zooms and pans the pictures of a comparison, all in step. Positions are in CSS pixels, unless
// they say otherwise.

class Zoom {
  scale = null; // CSS pixels for each pixel of the picture; null: as large as fits
  centre = [0.5, 0.5]; // what is in the middle, as shares of width and height

  constructor(stage, changed) {
    Object.assign(this, { stage, changed });
    for (const image of stage.images) image.addEventListener("load", () => this.layout());
    new ResizeObserver(() => this.layout()).observe(stage);
  }

  // Older pictures of a run are smaller files: what counts is the larger one.
  get size() {
    const [a, b] = this.stage.images;
    return [
      Math.max(a.naturalWidth, b.naturalWidth),
      Math.max(a.naturalHeight, b.naturalHeight),
    ];
  }

  get box() {
    return [this.stage.clientWidth, this.stage.clientHeight];
  }

  get fitting() {
    return Math.min(...this.size.map((pixels, i) => this.box[i] / pixels));
  }

  get shownScale() {
    return this.scale ?? this.fitting;
  }

  // Device pixels for each pixel of the picture.
  get magnification() {
    return this.shownScale * window.devicePixelRatio;
  }

  // Whether a part of the picture is outside.
  get isPannable() {
    return this.size.some((pixels, i) => pixels * this.shownScale > this.box[i] + 0.5);
  }

  layout() {
    if (!this.size[0] || !this.box[0]) return;
    ["x", "y"].forEach((axis, i) => {
      const [length, room] = [this.size[i] * this.shownScale, this.box[i]];
      const free = room - length;
      const start = free >= 0 ? free / 2 : room / 2 - this.centre[i] * length;
      const inside = free >= 0 ? start : Math.max(free, Math.min(0, start));
      this.centre[i] = (room / 2 - inside) / length;
      // Whole device pixels, so that 100% is exact.
      const whole = Math.round(inside * window.devicePixelRatio) / window.devicePixelRatio;
      this.stage.style.setProperty(`--${axis}`, `${whole}px`);
      this.stage.style.setProperty(`--length-${axis}`, `${length}px`);
    });
    this.stage.classList.toggle("sharp", this.magnification > 1.001);
    this.stage.classList.toggle("pannable", this.isPannable);
    this.changed();
  }

  fit() {
    this.scale = null;
    this.centre = [0.5, 0.5];
    this.layout();
  }

  // One pixel of the picture for each of the screen.
  actual(at) {
    const scale = 1 / window.devicePixelRatio;
    if (this.size[0]) this.to(scale, at);
    else this.scale = scale; // around the middle, once the pictures are there
  }

  by(factor, at) {
    this.to(this.shownScale * factor, at);
  }

  // Zooms around a point, by default that in the middle.
  to(scale, [x, y] = this.box.map((length) => length / 2)) {
    const old = this.shownScale;
    const full = 1 / window.devicePixelRatio;
    const least = Math.min(full, this.fitting) / 2;
    const most = 32 * Math.max(full, this.fitting);
    this.scale = Math.max(least, Math.min(most, scale));
    this.centre = [x, y].map((at, i) => {
      const fromMiddle = at - this.box[i] / 2;
      const share = this.centre[i] + fromMiddle / (this.size[i] * old);
      return share - fromMiddle / (this.size[i] * this.scale);
    });
    this.layout();
  }

  pan(...by) {
    this.centre = this.centre.map((at, i) => at - by[i] / (this.size[i] * this.shownScale));
    this.layout();
  }
}
