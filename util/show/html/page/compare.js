// Single pictures, and two pictures on top of each other with a line between them to move.

function picture(properties = {}) {
  const image = make("img", { draggable: false, ...properties });
  image.addEventListener("load", () => image.classList.remove("missing"));
  image.addEventListener("error", () => image.classList.add("missing"));
  image.show = (frame, label) => {
    const source = address(frame.files[label]);
    if (image.getAttribute("src") !== source) image.src = source;
    image.alt = `${caption(label)}, ${frame.title}`;
  };
  return image;
}

// The left one lies below; the right one is cut off at the line.
function comparison(loading) {
  const [below, above] = [picture({ loading }), picture({ loading })];
  const layers = make(
    "div",
    { className: "layers" },
    make("div", { className: "layer" }, below),
    make("div", { className: "layer above" }, above),
  );
  const range = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
  const stage = make("div", { className: "stage" }, layers, make("i"), range);
  const move = () => stage.style.setProperty("--at", `${range.value}%`);
  range.addEventListener("input", move);
  stage.moveTo = (clientX) => {
    const box = stage.getBoundingClientRect();
    range.value = (100 * (clientX - box.left)) / box.width;
    move();
  };
  stage.show = (frame, [left, right]) => {
    below.show(frame, left);
    above.show(frame, right);
    range.ariaLabel = `Share of ${caption(left)} against ${caption(right)}, in percent`;
  };
  return Object.assign(stage, { images: [below, above], range });
}

// Lets the line follow the pointer.
function slide(stage) {
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    stage.moveTo(event.clientX);
    stage.range.focus({ preventScroll: true });
    event.preventDefault(); // keeps the focus there
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) stage.moveTo(event.clientX);
  });
  return stage;
}

// ---- Which two pictures are compared ----

const pairsOf = (files) => settings.compare.filter((pair) => pair.every((label) => label in files));
let pairWanted = 0; // an index in settings.compare, shared by all rows

function pairOf(files) {
  const wanted = settings.compare[pairWanted];
  const pairs = pairsOf(files);
  return pairs.includes(wanted) ? wanted : pairs[0];
}

// A list of the pairs, or only the words where there is one.
function pairChoice(files) {
  const words = ([left, right]) => `${caption(left)} | ${caption(right)}`;
  const pairs = pairsOf(files);
  if (pairs.length === 1) return make("span", {}, words(pairs[0]));
  const options = pairs.map((pair) => [settings.compare.indexOf(pair), words(pair)]);
  const select = choice("Pictures to compare", options, (value) => {
    pairWanted = Number(value);
    showRows();
  });
  select.show = () => (select.value = settings.compare.indexOf(pairOf(files)));
  return select;
}
