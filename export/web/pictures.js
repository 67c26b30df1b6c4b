/** Picture files, decoded by the browser. */

import { toGrey } from "./preprocess.js";

const MAX_PIXELS = 64 * 1024 * 1024;
// Phones bound the size of a canvas: a photo goes through in strips.
const STRIP_PIXELS = 4 * 1024 * 1024;

/**
 * Decodes a picture file.
 *
 * @param {Blob} file in any format that the browser knows
 * @returns {Promise<{bitmap: ImageBitmap, grey: Float32Array}>} upright, of bitmap.width by
 *   bitmap.height pixels; the caller closes the bitmap
 * @throws {Error} with a sentence for the reader
 */
export async function decode(file) {
  const { width, height } = await readSize(file);
  if (width * height > MAX_PIXELS) {
    const size = `${width}x${height}`;
    throw new Error(`This picture is too large: ${size} pixels; 64 megapixels are the most.`);
  }
  // Colours as the file has them: the server's decoder knows no colour profiles either.
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(file, options).catch(refuse);
  return { bitmap, grey: readGrey(bitmap) };
}

/** Learns the size before the pixels are unpacked: a small file can be a huge picture. */
async function readSize(file) {
  const url = URL.createObjectURL(file);
  const image = new Image();
  try {
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = reject;
      image.src = url;
    }).catch(refuse);
  } finally {
    URL.revokeObjectURL(url);
  }
  return { width: image.naturalWidth, height: image.naturalHeight };
}

function refuse() {
  throw new Error("This file is not a picture that the browser can read.");
}

function readGrey(bitmap) {
  const { width, height } = bitmap;
  const rows = Math.max(1, Math.min(height, Math.trunc(STRIP_PIXELS / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const grey = new Float32Array(width * height);
  for (let top = 0; top < height; top += rows) {
    // A canvas keeps colours with alpha multiplied in, and so coarser: onto white at once. Even so
    // half-transparent pixels come out rounded, by up to half a level.
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    const strip = context.getImageData(0, 0, width, Math.min(rows, height - top));
    grey.set(toGrey(strip.data), top * width);
  }
  return grey;
}
