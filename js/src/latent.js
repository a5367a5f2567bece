/** The latent, L picks below K, and its packing into exactly ceil(L·log2 K) bits. */

import { DdnError } from "./errors.js";

export const MAX_K = 65_536;
export const MAX_LEVELS = 65_535;

const LEAF = 64; // below so many digits a plain loop beats divide and conquer
const NEAR = 1e-6; // of a whole number: where rounding could decide, whole numbers do; doubles are off by less than 1e-9

/**
 * A latent: the picks of an encoder, level 0 (the coarsest) first.
 * @typedef {{ picks: Uint16Array, k: number }} Latent
 */

/**
 * The bits of a packed latent: ceil(levels·log2 k), exact.
 * @param {number} k
 * @param {number} levels
 * @throws {DdnError} AbsurdSize beyond the limits, before any work
 */
export function packedBits(k, levels) {
  if (!(k >= 2 && k <= MAX_K)) {
    throw new DdnError("AbsurdSize", `K is ${k}; it must be 2 to ${MAX_K}`);
  }
  if (!(levels >= 1 && levels <= MAX_LEVELS)) {
    throw new DdnError("AbsurdSize", `there are ${levels} levels; there must be 1 to ${MAX_LEVELS}`);
  }
  if (isPowerOfTwo(k)) return levels * Math.log2(k);
  const bits = levels * Math.log2(k);
  if (Math.abs(bits - Math.round(bits)) > NEAR) return Math.ceil(bits);
  return (BigInt(k) ** BigInt(levels) - 1n).toString(2).length;
}

/**
 * The bytes of a packed latent.
 * @param {number} k
 * @param {number} levels
 */
export function payloadBytes(k, levels) {
  return Math.ceil(packedBits(k, levels) / 8);
}

/**
 * The latent in a whole payload.
 * @param {Uint8Array} data
 * @param {number} k
 * @param {number} levels
 * @returns {Latent}
 * @throws {DdnError} PayloadLength, NonZeroPadding, IndexOutOfRange, AbsurdSize
 */
export function unpack(data, k, levels) {
  const bits = packedBits(k, levels);
  if (data.length !== payloadBytes(k, levels)) {
    throw new DdnError("PayloadLength", `the payload has ${data.length} bytes, not ${payloadBytes(k, levels)}`);
  }
  const padding = 8 * data.length - bits;
  if (data[data.length - 1] & ((1 << padding) - 1)) {
    throw new DdnError("NonZeroPadding", `the payload's last ${padding} bits are padding but not all zero`);
  }
  if (isPowerOfTwo(k)) return { picks: fields(data, Math.log2(k), levels), k };
  const number = toBigInt(data) >> BigInt(padding);
  if (number >= BigInt(k) ** BigInt(levels)) throw beyond(k, levels);
  return { picks: digits(number, k, levels), k };
}

/**
 * The levels that the first bytes of a payload are certain of: all there is of a file that broke off.
 * @param {Uint8Array} data At most the whole payload
 * @param {number} k
 * @param {number} levels Of the whole latent
 * @returns {Latent | null} null where not even one level is certain
 * @throws {DdnError} As `unpack`, where the bytes are of no such latent
 */
export function unpackStart(data, k, levels) {
  const bits = packedBits(k, levels);
  if (data.length >= payloadBytes(k, levels)) return unpack(data, k, levels);
  if (!data.length) return null;
  if (isPowerOfTwo(k)) {
    const whole = Math.floor((8 * data.length) / Math.log2(k));
    return whole ? { picks: fields(data, Math.log2(k), whole), k } : null;
  }
  const numbers = BigInt(k) ** BigInt(levels);
  const missing = BigInt(bits - 8 * data.length); // bits of the number, and any of them may be anything
  const lowest = toBigInt(data) << missing;
  if (lowest >= numbers) throw beyond(k, levels);
  const end = lowest + (1n << missing);
  const highest = (end < numbers ? end : numbers) - 1n;
  const first = Math.min(levels, Math.floor((8 * data.length) / Math.floor(Math.log2(k)))); // at most what so many bits tell
  const rest = BigInt(k) ** BigInt(levels - first);
  const [low, high] = [lowest, highest].map((number) => digits(number / rest, k, first));
  const differing = low.findIndex((digit, level) => digit !== high[level]);
  const picks = differing < 0 ? low : low.subarray(0, differing);
  return picks.length ? { picks, k } : null;
}

/** @param {number} k */
function isPowerOfTwo(k) {
  return (k & (k - 1)) === 0;
}

/** @param {number} k @param {number} levels */
function beyond(k, levels) {
  return new DdnError("IndexOutOfRange", `the payload's number is not below ${k}^${levels}`);
}

/**
 * Numbers of so many bits each, one after the other.
 * @param {Uint8Array} data
 * @param {number} width 1 to 16
 * @param {number} count
 */
function fields(data, width, count) {
  const found = new Uint16Array(count);
  let held = 0; // bits that were read and are not yet part of a number, in the lowest `has` bits
  let has = 0;
  let position = 0;
  for (let i = 0; i < count; i++) {
    for (; has < width; has += 8) held = ((held << 8) | data[position++]) & 0xffffff;
    has -= width;
    found[i] = (held >>> has) & ((1 << width) - 1);
  }
  return found;
}

/** @param {Uint8Array} data */
export function toBigInt(data) {
  let hex = "0x0";
  for (const byte of data) hex += byte.toString(16).padStart(2, "0");
  return BigInt(hex);
}

/**
 * The `count` base-k digits of a number, most significant first.
 * @param {bigint} number
 * @param {number} k
 * @param {number} count
 */
function digits(number, k, count) {
  const found = new Uint16Array(count);
  const base = BigInt(k);
  /** @type {Map<number, bigint>} */
  const powers = new Map();
  /** @param {bigint} value @param {number} start @param {number} size */
  const split = (value, start, size) => {
    if (size <= LEAF) {
      for (let i = start + size - 1; i >= start; i--) {
        found[i] = Number(value % base);
        value /= base;
      }
      return;
    }
    const low = size >> 1;
    let power = powers.get(low);
    if (power === undefined) powers.set(low, (power = base ** BigInt(low)));
    split(value / power, start, size - low);
    split(value % power, start + size - low, low);
  };
  split(number, 0, count);
  return found;
}
