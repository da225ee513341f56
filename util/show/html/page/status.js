// Shows how far the run is, how fast, until when, and whether it is still alive; and the command
// that resumes it once it is not.

const SILENCE_OF_NEWS_S = 30 * 60; // test.py gives none
const PACE_POINTS = 100; // the speed is that over the newest points of the curves

const isLive = () =>
  run.ended === null && now_s() - run.news_s < (run.alive_s ? SILENCE_S : SILENCE_OF_NEWS_S);

// Images per second since the run was started or resumed, with everything that takes time.
function speed() {
  const last = curve.times.length - 1;
  const first = Math.max(reach(curve.times, run.began_s), last - PACE_POINTS);
  const time_s = curve.times[last] - curve.times[first];
  return time_s > 0 ? (curve.images[last] - curve.images[first]) / time_s : null;
}

function speedWords(perSecond) {
  const isFast = perSecond >= 1;
  const number = Number((isFast ? perSecond : 1 / perSecond).toPrecision(2));
  return isFast ? `${count(number)} images/s` : `${count(number)} s an image`;
}

function durationWords(time_s) {
  const minutes = Math.ceil(time_s / 60);
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor((minutes % 1440) / 60)];
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
}

function paceParts(imagesLeft) {
  const perSecond = speed();
  if (!isLive() || !perSecond) return [];
  const end_s = curve.times.at(-1) + imagesLeft / perSecond;
  const left = durationWords(Math.max(60, end_s - now_s()));
  return [speedWords(perSecond), `${left} left (${clock(end_s)})`];
}

function showStatus() {
  const parts = [];
  const end = run.ended ?? "";
  if (end) parts.push(end[0].toUpperCase() + end.slice(1));
  else if (isLive()) parts.push("Live");
  else if (run.alive_s) parts.push(`Stopped (killed?) at ${clock(run.alive_s)}`);
  else parts.push(`No updates since ${clock(run.told_s)}: the run may have stopped`);
  if (!isTraining) parts.push(counted(rows.size, settings.thing));
  else if (run.epoch) {
    const all = settings.epochs * settings.imagesPerEpoch;
    parts.push(`epoch ${count(run.epoch)} of ${count(settings.epochs)}`);
    parts.push(counted(run.images, "image"), ...paceParts(all - run.images));
    showProgress(Math.min(1, run.images / all));
  }
  if (end) parts.push(clock(run.told_s));
  else if (isLive()) parts.push(`updated ${clock(run.told_s)}`);
  if (reader.damaged) parts.push("the last data could not be read");
  const pieces = parts.map((part, i) =>
    make("span", {}, i < parts.length - 1 ? `${part} ·` : part),
  );
  const status = byId("status");
  status.className = end ? "ended" : isLive() ? "live" : "silent";
  status.replaceChildren(...pieces.flatMap((piece) => [piece, " "]));
  if (isTraining) byId("resume").hidden = isLive() || /^finished/i.test(end);
}

function showProgress(share) {
  const name = document.querySelector("h1").textContent;
  document.title = isLive() ? `${Math.floor(100 * share)}% ${name}` : name;
  byId("progress").value = share;
  byId("progress").hidden = run.ended !== null;
}

byId("copy")?.addEventListener("click", async () => {
  const command = byId("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    byId("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(command); // the clipboard is denied; Ctrl+C still works
  }
});
