// Shows the metrics of the best and the newest validation beside those of doing nothing.

function showScores() {
  if (!isTraining || validations.size === 0) return;
  const all = [...validations.values()].sort((a, b) => a.epoch - b.epoch);
  const newest = all.at(-1);
  const best = all.findLast(({ isBest }) => isBest);
  const judged = (at) => Object.values(at.byWeights).at(-1); // what test.py would use
  const columns = [];
  if (best && best !== newest) columns.push([`best, epoch ${best.epoch}`, judged(best)]);
  const word = best === newest ? "best and newest" : "newest";
  columns.push([`${word}, epoch ${newest.epoch}`, judged(newest)]);
  const names = Object.keys(newest.byWeights);
  if (names.length > 1) columns.push(["newest, without EMA", newest.byWeights[names[0]]]);
  if (Object.keys(newest.nothing).length) columns.push(["doing nothing", newest.nothing]);

  const cell = (tag, text) => make(tag, {}, text);
  const head = make("tr", {}, cell("th", ""), ...columns.map(([title]) => cell("th", title)));
  const lines = Object.keys(judged(newest)).map((name) => {
    const title = meanings[name] ?? meanings[name.replace(/_[AB]$/, "")] ?? "";
    const values = columns.map(([, figures]) => cell("td", figure(figures[name] ?? null)));
    return make("tr", {}, make("th", { title }, name), ...values);
  });
  byId("scores").replaceChildren(head, ...lines);
  byId("judged").hidden = false;
}
