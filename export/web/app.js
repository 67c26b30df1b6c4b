/** The page: what is drawn, and what the network says of it. */

import { classify, load, measure } from "./classifier.js";
import { keepForOffline } from "./offline.js";
import { Pad } from "./pad.js";
import { decode } from "./pictures.js";
import { SIDE, centreDigit, toGrey } from "./preprocess.js";
import { ask } from "./server.js";
import * as view from "./view.js";

const find = (id) => document.getElementById(id);
const pad = new Pad(find("pad"), (finished) => lookAtStrokes(finished));
const loading = start();
let digit = null; // the 784 bytes that the network sees, until there are others
let serverAddress = null;

async function start() {
  try {
    const page = await (await fetch("page.json")).json();
    serverAddress = page.server;
    view.showModel(page);
    await load(page.output);
  } catch (error) {
    view.showProblem(`The network could not be loaded: ${error.message ?? error}`);
    view.setState("failed");
    throw error;
  }
  if (!digit) view.showNothing();
  keepForOffline().then(
    (kept) => kept && view.showOffline(),
    (error) => console.warn("not kept for offline use:", error),
  );
}

function lookAtStrokes(finished) {
  const { data, width, height } = pad.pixels();
  return lookAt(centreDigit(toGrey(data), width, height), finished);
}

/** Shows what the network says; `finished`: aloud, and what the server says too. */
async function lookAt(bytes, finished) {
  digit = bytes;
  view.showSeen(bytes, SIDE);
  view.showControls(pad);
  view.speak("");
  await loading;
  if (digit !== bytes) return; // a newer one has come
  if (!bytes.some(Boolean)) return view.showNothing("No digit found: too little contrast");
  const answer = await classify(bytes);
  if (digit !== bytes) return;
  view.showAnswer(answer);
  if (!finished) return;
  view.speak(view.inWords(answer.probabilities));
  if (serverAddress) await askServer(bytes);
}

async function askServer(bytes) {
  view.showServer({ waiting: true });
  const answer = await ask(bytes);
  if (digit !== bytes) return;
  view.showServer(answer);
  if (answer.probabilities) view.speak(`The server says ${view.inWords(answer.probabilities)}`);
}

async function lookAtPicture(file) {
  view.showProblem(null);
  try {
    const { bitmap, grey } = await decode(file);
    const { width, height } = bitmap;
    pad.show(bitmap);
    await lookAt(centreDigit(grey, width, height), true);
  } catch (error) {
    view.showProblem(error.message);
  }
}

function clear() {
  pad.clear();
  digit = null;
  view.showProblem(null);
  view.showSeen(new Uint8Array(SIDE * SIDE), SIDE);
  view.showControls(pad);
  view.showNothing();
}

function undo() {
  pad.undo();
  return pad.isEmpty ? clear() : lookAtStrokes(true);
}

find("clear").addEventListener("click", clear);
find("undo").addEventListener("click", undo);
find("file").addEventListener("change", ({ target }) => {
  if (target.files.length) lookAtPicture(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
find("measure").addEventListener("click", async () => {
  view.setMeasuring(true);
  view.showSpeed(await measure(digit ?? new Uint8Array(SIDE * SIDE)));
  view.setMeasuring(false);
});

addEventListener("keydown", (event) => {
  if (event.key === "Escape") clear();
  if (event.key === "z" && (event.ctrlKey || event.metaKey) && pad.hasStrokes) undo();
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  view.setDropping(true);
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) view.setDropping(false);
});
addEventListener("drop", (event) => {
  event.preventDefault();
  view.setDropping(false);
  if (event.dataTransfer.files.length) lookAtPicture(event.dataTransfer.files[0]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => pad.render());
