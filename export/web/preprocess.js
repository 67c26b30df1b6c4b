/**
 * From any picture of one digit to the 28x28 bytes that the network knows: the method of
 * serving/pictures.py, which says why. A test holds the two to within one grey level.
 */

export const SIDE = 28;
const BOX = 20;
const MIDDLE = 14.5;
const MIN_CONTRAST = 16;
// Python reckons in 32 bits: a pixel just at the threshold must fall on the same side here.
const { fround } = Math;
const NOISE = fround(0.1);
const GREY_STEPS = 64;
const LUMA = [0.299, 0.587, 0.114].map(fround);

/**
 * Puts transparency on white and takes the colour away.
 *
 * @param {Uint8ClampedArray} rgba four bytes a pixel, alpha not multiplied in
 * @returns {Float32Array} a grey value, 0 to 255, for each pixel
 */
export function toGrey(rgba) {
  const grey = new Float32Array(rgba.length / 4);
  for (let pixel = 0, at = 0; pixel < grey.length; pixel++, at += 4) {
    const luma = rgba[at] * LUMA[0] + rgba[at + 1] * LUMA[1] + rgba[at + 2] * LUMA[2];
    const alpha = rgba[at + 3] / 255;
    grey[pixel] = Math.round((luma * alpha + 255 * (1 - alpha)) * GREY_STEPS) / GREY_STEPS;
  }
  return grey;
}

/**
 * Finds the digit in a picture and sizes and places it as MNIST's are.
 *
 * @param {Float32Array} grey values of either polarity, 0 to 255, row by row
 * @param {number} width of the picture
 * @param {number} height of the picture
 * @returns {Uint8Array} 784 bytes, white on black; all zero if the picture has no contrast
 */
export function centreDigit(grey, width, height) {
  const out = new Uint8Array(SIDE * SIDE);
  const ink = findInk(grey, borderMedian(grey, width, height));
  if (!ink) return out;
  const crop = cropToInk(ink, width, height);
  const longest = Math.max(crop.width, crop.height);
  const [columns, rows] = [crop.width, crop.height].map((side) =>
    Math.max(1, Math.trunc((side * BOX) / longest + 0.5)),
  );
  const digit = resize(crop, columns, rows).map((value) =>
    Math.min(Math.max(Math.floor(value + 0.5), 0), 255),
  );
  const masses = { x: new Float64Array(columns), y: new Float64Array(rows) };
  digit.forEach((value, at) => {
    masses.x[at % columns] += value;
    masses.y[Math.trunc(at / columns)] += value;
  });
  const left = centringOffset(masses.x);
  const top = centringOffset(masses.y);
  for (let row = 0; row < rows; row++) {
    const line = digit.subarray(row * columns, (row + 1) * columns);
    out.set(line, (top + row) * SIDE + left);
  }
  return out;
}

function borderMedian(grey, width, height) {
  const border = new Float32Array(2 * (width + height));
  border.set(grey.subarray(0, width), 0);
  border.set(grey.subarray(width * (height - 1)), width);
  for (let row = 0; row < height; row++) {
    border[2 * width + row] = grey[row * width];
    border[2 * width + height + row] = grey[row * width + width - 1];
  }
  return border.sort()[width + height];
}

/** Stretches what deviates from the background to 0..255; null where nothing does. */
function findInk(grey, background) {
  let darkest = 0;
  let lightest = 0;
  for (const value of grey) {
    darkest = Math.max(darkest, fround(background - value));
    lightest = Math.max(lightest, fround(value - background));
  }
  const sign = darkest > lightest ? -1 : 1;
  const peak = Math.max(darkest, lightest);
  if (peak < MIN_CONTRAST) return null;
  const floor = fround(NOISE * peak);
  const scale = fround(255 / peak);
  return grey.map((value) => {
    const ink = fround(sign * (value - background));
    return ink < floor ? 0 : ink * scale;
  });
}

function cropToInk(ink, width, height) {
  let [left, right, top, bottom] = [width, 0, height, 0];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (ink[row * width + column] === 0) continue;
      left = Math.min(left, column);
      right = Math.max(right, column + 1);
      top = Math.min(top, row);
      bottom = Math.max(bottom, row + 1);
    }
  }
  const crop = { width: right - left, height: bottom - top };
  crop.values = new Float32Array(crop.width * crop.height);
  for (let row = 0; row < crop.height; row++) {
    const start = (top + row) * width + left;
    crop.values.set(ink.subarray(start, start + crop.width), row * crop.width);
  }
  return crop;
}

/** Resizes with a triangle filter that widens where the picture shrinks: no aliases. */
function resize({ values, width, height }, columns, rows) {
  const across = new Float32Array(columns * height);
  triangles(width, columns).forEach(({ start, weights }, column) => {
    for (let row = 0; row < height; row++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += values[row * width + start + i] * weights[i];
      across[row * columns + column] = sum;
    }
  });
  const resized = new Float32Array(columns * rows);
  triangles(height, rows).forEach(({ start, weights }, row) => {
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += across[(start + i) * columns + column] * weights[i];
      resized[row * columns + column] = sum;
    }
  });
  return resized;
}

/** For each place of the new axis: the first old place that counts, and the weights from there. */
function triangles(from, to) {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const start = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), from);
    const weights = Array.from({ length: end - start }, (_, i) =>
      Math.max(1 - Math.abs((start + i + 0.5 - centre) / reach), 0),
    );
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { start, weights: weights.map((weight) => weight / total) };
  });
}

/** Where the axis must start for its centre of mass to lie nearest to the middle. */
function centringOffset(mass) {
  let total = 0;
  let moment = 0;
  mass.forEach((value, at) => {
    total += value;
    moment += value * (at + 0.5);
  });
  const offset = Math.floor(MIDDLE - moment / total + 0.5);
  return Math.min(Math.max(offset, 0), SIDE - mass.length);
}
