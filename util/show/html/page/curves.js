// The charts of a run: its losses, its learning rate, and each metric of its validation.

const losses = {
  G: "What the generator minimises",
  G_GAN: "How well the generator fools the discriminator: lower fools it more",
  G_L1: "Mean absolute difference from the target, times --lambda_L1",
  G_feat: "Difference from the target in the layers of the discriminator, times --lambda_feat",
  G_lpips: "How different from the target it looks to people (LPIPS), times --lambda_lpips",
  G_Perceptual: "Difference from the target in the features of the VGG, times its weight",
  D: "How well the discriminator tells real pictures from generated ones: lower tells better",
  G_A: "How well G_A fools D_A: lower fools it more",
  G_B: "How well G_B fools D_B: lower fools it more",
  D_real: "The discriminator's loss on real pictures: lower knows them better",
  D_fake: "The discriminator's loss on generated pictures: lower knows them better",
  D_GP: "Gradient penalty that keeps the discriminator smooth (WGAN-GP, R1)",
  cycle: "Difference between a picture and itself, there and back through both generators",
  idt: "How much the generator changes a picture that is already of its kind",
};

function lossMeaning(name) {
  return losses[name] ?? losses[name.replace(/_[AB]$/, "")] ?? "";
}

// ---- As CSV ----

const cell = (value) => {
  const text = String(value ?? "");
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

function save(what, lines) {
  const text = lines.map((line) => `${line.map(cell).join(",")}\n`).join("");
  const href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const name = document.querySelector("h1").textContent;
  make("a", { href, download: `${name}_${what}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}

function saveLosses() {
  const columns = [...curve.losses];
  const lines = curve.images.map((images, i) => [
    curve.epochs[i],
    images,
    new Date(1000 * curve.times[i]).toISOString(),
    curve.rates[i],
    ...columns.map(([, values]) => values[i]),
  ]);
  const head = ["epoch", "images", "time", "learning rate", ...columns.map(([name]) => name)];
  save("losses", [head, ...lines]);
}

function saveValidation() {
  const all = inOrder();
  const metrics = metricsOf(all);
  const lines = all.flatMap(({ epoch, images, byWeights, isBest }) =>
    Object.entries(byWeights).map(([weights, figures]) => [
      ...[epoch, images, weights, isBest],
      ...metrics.map((name) => figures[name]),
    ]),
  );
  save("validation", [["epoch", "images", "weights", "best so far", ...metrics], ...lines]);
}

const csvButton = (action) => button("CSV", action, { title: "Save these numbers" });

// ---- Charts ----

const charts = [];

const metricsOf = (all) => [...new Set(all.flatMap((at) => Object.keys(judged(at))))];

// One metric over all validations, for each set of weights.
function metricData(name) {
  const all = inOrder();
  const { nothing, byWeights } = all.at(-1) ?? { nothing: {}, byWeights: {} };
  const weights = Object.keys(byWeights);
  const words = { last: weights.length > 1 ? "without EMA" : name, EMA: "with EMA" };
  return {
    points: { images: all.map((at) => at.images), epochs: all.map((at) => at.epoch) },
    columns: weights.map((each) => [
      words[each] ?? each,
      all.map((at) => at.byWeights[each]?.[name] ?? null),
    ]),
    bases: (nothing[name] ?? null) === null ? {} : { "doing nothing": nothing[name] },
    best: all.indexOf(bestOf(all)),
  };
}

function addMetricCharts() {
  for (const name of metricsOf(inOrder())) {
    const id = `metric ${name}`;
    if (byId(id)) continue;
    const header = make("header", {}, make("h3", { title: meaningOf(name) }, name));
    const box = make("div", { className: "chart", id }, header);
    byId("metrics").append(box);
    charts.push(new Chart(box, () => metricData(name), { fromZero: false }));
  }
}

if (isTraining) {
  const points = () => ({ images: curve.images, epochs: curve.epochs });
  const ofLosses = () => ({ points: points(), columns: [...curve.losses] });
  const ofRates = () => ({ points: points(), columns: [["learning rate", curve.rates]] });
  charts.push(new Chart(byId("losses"), ofLosses, { hasControls: true }));
  charts.push(new Chart(byId("rates"), ofRates));
  charts[0].controls.append(csvButton(saveLosses));
  byId("judged").querySelector("header").append(csvButton(saveValidation));
}

function showCurves() {
  if (!isTraining) return;
  if (validations.size) addMetricCharts();
  for (const each of charts) each.update();
}
