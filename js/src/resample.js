/**
 * Pictures at another size, by the same whole numbers as Pillow, and so as the Python package; but where the width grows and
 * the height shrinks, the order of the two passes, and so what is clipped between them, is a matter of Pillow's release.
 */

const PRECISION = 22; // bits of a weight after the point

/** @typedef {{ support: number, weight: (distance: number) => number }} Filter */

/** @type {Filter} */
const BOX = { support: 0.5, weight: (distance) => (distance > -0.5 && distance <= 0.5 ? 1 : 0) };

/** @type {Filter} */
const BICUBIC = {
  support: 2,
  weight(distance) {
    const x = Math.abs(distance);
    const a = -0.5;
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
  },
};

/**
 * Resample a square picture: area averages where no side grows, bicubic otherwise.
 * @param {Uint8Array} pixels RGB, side × side × 3
 * @param {number} side
 * @param {number} width
 * @param {number} height
 * @returns {Uint8ClampedArray<ArrayBuffer>} RGBA, height × width × 4
 */
export function fit(pixels, side, width, height) {
  const filter = width <= side && height <= side ? BOX : BICUBIC;
  const wide =
    width === side ? pixels : resampleLines(pixels, side, width, filter, { lines: side, line: side, step: 1 });
  const high =
    height === side ? wide : resampleLines(wide, side, height, filter, { lines: width, line: 1, step: width });
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let from = 0, to = 0; from < high.length; to++) {
    rgba[to++] = high[from++];
    rgba[to++] = high[from++];
    rgba[to++] = high[from++];
  }
  return rgba;
}

/**
 * Resample along one axis: rows become `size` long, or columns `size` high.
 * @param {Uint8Array} pixels RGB
 * @param {number} side How long the lines are
 * @param {number} size How long they become
 * @param {Filter} filter
 * @param {{ lines: number, line: number, step: number }} layout How many lines there are; in pixels, how far one begins
 *   after another, and how far two neighbours in a line are apart
 */
function resampleLines(pixels, side, size, filter, { lines, line, step }) {
  const rows = step === 1;
  const resampled = new Uint8Array(lines * size * 3);
  weightsOf(side, size, filter).forEach(({ first, weights }, place) => {
    for (let i = 0; i < lines; i++) {
      const to = 3 * (rows ? i * size + place : place * lines + i);
      for (let channel = 0; channel < 3; channel++) {
        let sum = 1 << (PRECISION - 1);
        for (let j = 0, from = 3 * (i * line + first * step) + channel; j < weights.length; j++, from += 3 * step) {
          sum += pixels[from] * weights[j];
        }
        resampled[to + channel] = Math.min(Math.max(sum >> PRECISION, 0), 255);
      }
    }
  });
  return resampled;
}

/**
 * For each place in a line that is resampled: the first pixel that has a part in it, and the weights of that and the next.
 * @param {number} side
 * @param {number} size
 * @param {Filter} filter
 */
function weightsOf(side, size, filter) {
  const scale = side / size;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  return Array.from({ length: size }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const end = Math.min(Math.trunc(centre + support + 0.5), side);
    const shares = Array.from({ length: end - first }, (_, i) => filter.weight((first + i - centre + 0.5) / stretch));
    const sum = shares.reduce((total, share) => total + share, 0);
    const weights = Int32Array.from(shares, (share) =>
      Math.trunc((share / sum) * 2 ** PRECISION + 0.5 * Math.sign(share)),
    );
    return { first, weights };
  });
}
