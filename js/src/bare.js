/** Bare streams: a latent and an aspect ratio, and nothing else; docs/format.md of the project is their spec. */

import { DdnError } from "./errors.js";
import { MAX_K, MAX_LEVELS, packedBits, unpack } from "./latent.js";

const NOT_TEXT = 0x80; // set in the first byte, which so is not ASCII
const STEPS = 16; // of the aspect ratio, in an octave
const SQUARE = 64;
const SPACE = " \t\n\v\f\r";
const MAX_BYTES = 2 + Math.ceil(packedBits(MAX_K, MAX_LEVELS) / 8);

/**
 * Read a bare stream; nothing in it says whose it is.
 * @param {Uint8Array | string} data The stream, or its base64url, as text or as the bytes of it
 * @param {{ k: number, resolution: number }} model That made it; the longer side of the picture gets its resolution
 * @returns {{ latent: import("./latent.js").Latent, width: number, height: number }}
 * @throws {DdnError} BadMagic, Truncated, PayloadLength, IndexOutOfRange
 */
export function readBare(data, { k, resolution }) {
  const bytes = binary(data);
  const bits = bitsBeforeMark(bytes);
  const levels = levelsOf(bits, k);
  const payload = bytes.slice(1, 1 + Math.ceil(bits / 8));
  payload[payload.length - 1] &= 0xff << (8 * payload.length - bits); // where the mark may be, beside the last bits
  const latent = unpack(payload, k, levels);
  const ratio = aspectOf(bytes);
  const [width, height] = [ratio, 1 / ratio].map((part) => Math.max(1, roundHalfEven(resolution * Math.min(part, 1))));
  return { latent, width, height };
}

/**
 * Width over height of a bare stream, which needs no model.
 * @param {Uint8Array | string} data As for `readBare`
 * @throws {DdnError} BadMagic, Truncated
 */
export function bareAspect(data) {
  return aspectOf(binary(data));
}

/** @param {Uint8Array} bytes */
function aspectOf(bytes) {
  return 2 ** ((bytes[0] - NOT_TEXT - SQUARE) / STEPS);
}

/**
 * The bytes of a stream or of its text: the first byte tells.
 * @param {Uint8Array | string} data
 */
function binary(data) {
  const isText = typeof data === "string" || !(data[0] >= NOT_TEXT);
  const bytes = isText ? fromText(data) : data;
  if (bytes.length < 2) throw new DdnError("Truncated", `a bare stream has two bytes or more, not ${bytes.length}`);
  if (bytes[0] < NOT_TEXT) throw new DdnError("BadMagic", "not a bare stream: its first byte is below 80");
  return bytes;
}

/**
 * The bytes that base64url stands for, as it was written: no stray bits, but white space and `=` may stand around it.
 * @param {Uint8Array | string} data
 */
function fromText(data) {
  const text = typeof data === "string" ? data : new TextDecoder("latin1").decode(data);
  let [start, end] = [0, text.length];
  while (start < end && SPACE.includes(text[start])) start++;
  while (start < end && SPACE.includes(text[end - 1])) end--;
  while (start < end && text[end - 1] === "=") end--;
  const digits = text.slice(start, end);
  if (!/^[\w-]*$/.test(digits) || digits.length % 4 === 1) {
    throw new DdnError("BadMagic", "not a bare stream: neither its bytes nor base64url");
  }
  const base64 = digits.replace(/-/g, "+").replace(/_/g, "/");
  const characters = atob(base64);
  if (btoa(characters).replace(/=+$/, "") !== base64) {
    throw new DdnError("BadMagic", "not a bare stream: its base64url is not as it was written");
  }
  return Uint8Array.from(characters, (character) => character.charCodeAt(0));
}

/**
 * How many bits there are before the mark of the end, the last one bit, which is in the last byte.
 * @param {Uint8Array} bytes
 */
function bitsBeforeMark(bytes) {
  if (bytes.length > MAX_BYTES) throw new DdnError("PayloadLength", `a bare stream has at most ${MAX_BYTES} bytes`);
  const last = bytes[bytes.length - 1];
  if (!last) throw new DdnError("PayloadLength", "the end of the bare stream is not marked");
  return 8 * (bytes.length - 1) - 1 - Math.log2(last & -last);
}

/**
 * How many levels have so many bits.
 * @param {number} bits
 * @param {number} k
 */
function levelsOf(bits, k) {
  const most = Math.floor(bits / Math.log2(k));
  for (const levels of [most, most + 1]) {
    // which of them rounding does not tell
    if (levels >= 1 && levels <= MAX_LEVELS && packedBits(k, levels) === bits) return levels;
  }
  throw new DdnError("PayloadLength", `the bare stream has ${bits} bits, which no number of levels of K = ${k} has`);
}

/** @param {number} value */
function roundHalfEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}
