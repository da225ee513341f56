// What all pages share: elements, words for numbers and times, and data that comes as scripts.

const SILENCE_S = 100; // without a sign of life, which come every 30 s, a run has stopped
const byId = (id) => document.getElementById(id);

// Strings in `children` become text nodes: no data is ever parsed as HTML.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function button(words, action, properties = {}) {
  const element = make("button", { type: "button", ...properties }, words);
  element.addEventListener("click", action);
  return element;
}

const iconButton = (title, words, action) =>
  button(words, action, { className: "icon", ariaLabel: title, title });

// A drop-down list of [value, words] pairs. It stays open when the same are offered again.
function choice(title, options, action) {
  const select = make("select", { ariaLabel: title, title });
  select.offer = (pairs) => {
    if (pairs.map(([value]) => value).join() === [...select.options].map((o) => o.value).join()) {
      return;
    }
    select.replaceChildren(...pairs.map(([value, words]) => make("option", { value }, words)));
  };
  select.offer(options);
  select.addEventListener("change", () => action(select.value));
  return select;
}

const count = (number) => number.toLocaleString("en");
const counted = (number, thing) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;
const figure = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))));
const now_s = () => Date.now() / 1000;
function clock(time_s) {
  const date = new Date(time_s * 1000);
  const today = date.toDateString() === new Date().toDateString();
  const hour = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return today ? hour : `${date.toLocaleDateString()} ${hour}`;
}

// Takes a sign of life into account: `life` is {alive_s, news_s}. The run's machine may have a
// different clock, so later signs count from here.
function hear(life, time_s) {
  if (time_s === life.alive_s) return;
  life.news_s = life.alive_s ? now_s() : Math.max(life.news_s, time_s);
  life.alive_s = time_s;
}

// Resolves to whether the script was there. `told` becomes its dataset, which it can read.
function runScript(source, told = {}) {
  return new Promise((done) => {
    const ended = (event) => {
      script.remove();
      done(event.type === "load");
    };
    const script = make("script", { src: source, onload: ended, onerror: ended });
    Object.assign(script.dataset, told);
    document.head.append(script);
  });
}
