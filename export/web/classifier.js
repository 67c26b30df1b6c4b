/** The edge model, run in this browser by LiteRT.js. */

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

import { SIDE } from "./preprocess.js";

let model;
let quantization;

/**
 * Loads the runtime and the model.
 *
 * @param {{scale: number, zero_point: number}} output the quantisation of the scores
 */
export async function load(output) {
  // LiteRT writes its notes to standard error, which Emscripten makes errors of the console.
  globalThis.Module = {
    printErr: (line) => (/^(INFO|WARNING):/.test(line) ? console.debug(line) : console.error(line)),
  };
  await loadLiteRt(new URL("vendor/litert/wasm/", import.meta.url).href);
  const url = new URL("digits.tflite", import.meta.url).href;
  model = await loadAndCompile(url, { accelerator: "wasm" });
  quantization = output;
  await score(new Uint8Array(SIDE * SIDE)); // the first run is slow
}

/**
 * Runs the model once.
 *
 * @param {Uint8Array} digit 784 bytes, white on black
 * @returns {Promise<Uint8Array>} the ten scores, as the model gives them
 */
export async function score(digit) {
  const input = new Tensor(digit, [1, SIDE, SIDE, 1]);
  const [output] = await model.run([input]);
  const scores = output.toTypedArray().slice();
  output.delete();
  input.delete();
  return scores;
}

/**
 * Classifies a digit.
 *
 * @param {Uint8Array} digit 784 bytes, white on black
 * @returns {Promise<{probabilities: number[], milliseconds: number}>}
 */
export async function classify(digit) {
  const start = performance.now();
  const scores = await score(digit);
  const milliseconds = performance.now() - start;
  const { scale, zero_point: zeroPoint } = quantization;
  return { probabilities: Array.from(scores, (s) => (s - zeroPoint) * scale), milliseconds };
}

/**
 * Measures the time that one digit takes, for about half a second.
 *
 * @param {Uint8Array} digit 784 bytes
 * @returns {Promise<{median: number, runs: number}>} milliseconds of `score`
 */
export async function measure(digit) {
  // Browsers round their clocks to 0.1 ms or more: a block of runs is timed, not a run.
  const block = 10;
  const times = [];
  for (let i = 0; i < block; i++) await score(digit);
  const end = performance.now() + 500;
  while (performance.now() < end) {
    const start = performance.now();
    for (let i = 0; i < block; i++) await score(digit);
    times.push((performance.now() - start) / block);
  }
  times.sort((a, b) => a - b);
  return { median: times[times.length >> 1], runs: times.length * block };
}
