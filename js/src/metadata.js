/** The metadata of a .ddn file: one zstd frame, which holds a colour profile, a comment, or both. */

import { Cursor } from "./cursor.js";
import { DdnError } from "./errors.js";

const MAX_CONTENT = 2 ** 22; // bytes once decompressed
const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
const ICC = 1;
const COMMENT = 2;

/** @typedef {{ icc: Uint8Array | null, comment: string | null }} Metadata */

/**
 * @param {Uint8Array} frame
 * @returns {Promise<Metadata>}
 * @throws {DdnError} BadMetadata, BadVarint or AbsurdSize
 */
export async function unpackMetadata(frame) {
  const cursor = new Cursor(await decompress(frame));
  /** @type {Map<number, Uint8Array>} */
  const entries = new Map();
  try {
    while (cursor.position < cursor.data.length) {
      const tag = cursor.byte();
      if (tag !== ICC && tag !== COMMENT) throw bad(`they hold an entry of unknown tag ${tag}`);
      if (tag <= Math.max(0, ...entries.keys())) throw bad(`tag ${tag} is repeated or out of order`);
      entries.set(tag, cursor.take(cursor.varint()));
    }
  } catch (error) {
    throw error instanceof DdnError && error.kind === "Truncated" ? bad("they end inside an entry") : error;
  }
  if (!entries.size) throw bad("they are there but empty");
  return { icc: entries.get(ICC) ?? null, comment: text(entries.get(COMMENT)) };
}

/** @param {Uint8Array | undefined} value */
function text(value) {
  if (!value) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    throw bad("the comment is not UTF-8");
  }
}

/**
 * The content of exactly one zstd frame, which must state its size within the limit.
 * @param {Uint8Array} frame
 */
async function decompress(frame) {
  const size = statedSize(frame);
  const content = new Uint8Array(size);
  let filled = 0;
  const { Decompress } = await import("fzstd"); // most files need none
  const decompressor = new Decompress((chunk) => {
    if (filled + chunk.length > size) throw bad("their zstd frame holds more than it states");
    content.set(chunk, filled);
    filled += chunk.length;
  });
  try {
    decompressor.push(frame, true);
  } catch (error) {
    throw error instanceof DdnError ? error : bad("their zstd frame is damaged");
  }
  if (filled !== size) throw bad("their zstd frame holds less than it states");
  return content;
}

/**
 * The size that a zstd frame (RFC 8878) states, if it is one frame from its first byte to its last.
 * @param {Uint8Array} frame
 */
function statedSize(frame) {
  const cursor = new Cursor(frame);
  try {
    if (cursor.take(MAGIC.length).some((byte, i) => byte !== MAGIC[i])) throw bad("they are no zstd frame");
    const descriptor = cursor.byte();
    const singleSegment = (descriptor >> 5) & 1;
    if (descriptor & 0b1000) throw bad("their zstd frame has a reserved bit set");
    if (!singleSegment) cursor.byte(); // the window's size, which the content's limits
    if (cursor.take([0, 1, 2, 4][descriptor & 3]).some((byte) => byte))
      throw bad("their zstd frame needs a dictionary");
    const sizeBytes = descriptor >> 6 ? 1 << (descriptor >> 6) : singleSegment;
    if (!sizeBytes) throw bad("their zstd frame does not state its content's size");
    const size = littleEndian(cursor.take(sizeBytes)) + (sizeBytes === 2 ? 256 : 0);
    if (size > MAX_CONTENT) {
      throw new DdnError("AbsurdSize", `${size} bytes of metadata content; the limit is ${MAX_CONTENT}`);
    }
    for (let last = 0; !last;) {
      const block = littleEndian(cursor.take(3));
      last = block & 1;
      const isRun = ((block >> 1) & 3) === 1; // one byte, so many times
      cursor.take(isRun ? 1 : block >> 3);
    }
    if (descriptor & 0b100) cursor.take(4); // a checksum, which the file's own makes needless
    if (cursor.position < frame.length) throw bad("bytes follow their zstd frame");
    return size;
  } catch (error) {
    throw error instanceof DdnError && error.kind === "Truncated" ? bad("their zstd frame is cut short") : error;
  }
}

/** @param {Uint8Array} bytes */
function littleEndian(bytes) {
  return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}

/** @param {string} reason */
function bad(reason) {
  return new DdnError("BadMetadata", `the metadata cannot be read: ${reason}`);
}
