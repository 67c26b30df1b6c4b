/** What the page shows, part by part. */

const find = (id) => document.getElementById(id);
const page = document.documentElement;
const NAMES = "a zero,a one,a two,a three,a four,a five,a six,a seven,an eight,a nine".split(",");
const bars = Array.from({ length: 10 }, (_, digit) => addBar(digit));

/** @param {"loading" | "empty" | "answered" | "failed"} state for the style sheet and for tests */
export function setState(state) {
  page.dataset.state = state;
}

export function setDropping(dropping) {
  page.toggleAttribute("data-dropping", dropping);
}

export function showOffline() {
  page.toggleAttribute("data-offline", true);
}

export function setMeasuring(measuring) {
  find("measure").disabled = measuring;
}

export function showControls(pad) {
  page.toggleAttribute("data-drawn", !pad.isEmpty);
  find("undo").disabled = !pad.hasStrokes;
  find("clear").disabled = pad.isEmpty;
}

export function showModel({ version, bytes, server }) {
  find("version").textContent = version;
  find("model").textContent = `uint8, ${Math.round(bytes / 1000)} kB`;
  find("server").hidden = !server;
  find("server-name").textContent = server ?? "";
  if (server) bars.forEach(({ tracks }) => tracks.append(makeTrack("server")));
}

/** Shows the network's input, enlarged by the style sheet. */
export function showSeen(digit, side) {
  const pixels = new ImageData(side, side);
  digit.forEach((value, at) => pixels.data.set([value, value, value, 255], 4 * at));
  find("seen").getContext("2d").putImageData(pixels, 0, 0);
}

export function showNothing(words = "Waiting for a digit") {
  setState("empty");
  find("measure").disabled = false;
  find("label").textContent = "?";
  find("words").textContent = words;
  find("detail").textContent = "";
  find("latency").textContent = "–";
  find("server-words").textContent = "";
  showBars(Array(10).fill(0), null);
  fill("server", Array(10).fill(0));
}

export function showAnswer({ probabilities, milliseconds }) {
  const [first, second] = rank(probabilities);
  const share = probabilities[first];
  const rival = probabilities[second];
  setState("answered");
  find("measure").disabled = false;
  find("label").textContent = first;
  find("words").textContent =
    share > 0.9
      ? `That is ${NAMES[first]}.`
      : share > 0.6
        ? `Probably ${NAMES[first]}.`
        : `${NAMES[first]}, or ${NAMES[second]}?`;
  find("detail").textContent =
    percent(share) + (rival >= 0.01 ? `, then ${second}: ${percent(rival)}` : "");
  find("latency").textContent = time(milliseconds);
  showBars(probabilities, first);
}

function showBars(probabilities, top) {
  fill("own", probabilities);
  bars.forEach(({ item, share }, digit) => {
    item.classList.toggle("top", digit === top);
    share.textContent = percent(probabilities[digit]);
    share.classList.toggle("unseen", probabilities[digit] < 0.005);
  });
}

/** Says words to a screen reader: once a stroke has ended, not while it grows. */
export function speak(words) {
  find("spoken").textContent = words;
}

/** The most probable digit and its probability. */
export function inWords(probabilities) {
  const [first] = rank(probabilities);
  return `${first}, ${percent(probabilities[first])}`;
}

export function showServer({ waiting, error, probabilities, milliseconds }) {
  if (waiting || error) {
    fill("server", Array(10).fill(0));
    find("server-words").textContent = error ?? "…";
    return;
  }
  fill("server", probabilities);
  find("server-words").textContent = `${inWords(probabilities)}, ${time(milliseconds)}`;
}

export function showSpeed({ median, runs }) {
  find("median").textContent = time(median);
  find("runs").textContent = `Median of ${runs}`;
}

/** @param {string | null} words what to read, or nothing */
export function showProblem(words) {
  find("problem").hidden = words === null;
  find("problem").textContent = words ?? "";
}

function addBar(digit) {
  const item = document.createElement("li");
  const share = make("span", "share unseen");
  const tracks = make("div", "tracks");
  tracks.append(makeTrack("own"));
  const name = make("span", "name");
  name.textContent = digit;
  item.append(name, tracks, share);
  find("bars").append(item);
  return { item, share, tracks };
}

function makeTrack(whose) {
  const track = make("div", `track ${whose}`);
  track.append(make("div", "fill"));
  return track;
}

function make(tag, className) {
  const element = document.createElement(tag);
  element.className = className;
  return element;
}

function fill(whose, shares) {
  bars.forEach(({ tracks }, digit) => {
    tracks.querySelector(`.${whose}`)?.style.setProperty("--share", shares[digit]);
  });
}

/** The digits, the most probable first; of equals the smaller. */
function rank(probabilities) {
  return [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a] || a - b);
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function time(milliseconds) {
  return milliseconds < 0.1 && milliseconds > 0
    ? `${Math.round(milliseconds * 1000)} µs`
    : `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}
