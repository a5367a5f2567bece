/** The .ddn file, version 1; docs/format.md of the project is its spec, and says the order of the checks. */

import { Cursor } from "./cursor.js";
import { DdnError } from "./errors.js";
import { MAX_K, MAX_LEVELS, payloadBytes, unpack, unpackStart } from "./latent.js";
import { unpackMetadata } from "./metadata.js";

const MAGIC = [0xdd, 0x4e];
const VERSION = 1;
const MAX_SIDE = 65_535;
const MAX_PIXELS = 2 ** 26;
const MAX_METADATA = 2 ** 20; // bytes as stored
const ID_BYTES = 4;
const CRC_BYTES = 4;
const VARINTS = 5 * 4; // bytes of width, height, levels, K and the metadata's length
export const MAX_FILE = 4 + ID_BYTES + VARINTS + MAX_METADATA + payloadBytes(MAX_K, MAX_LEVELS) + CRC_BYTES;

/**
 * What a file holds.
 * @typedef {object} Stream
 * @property {import("./latent.js").Latent} latent
 * @property {number} width Of the original, in pixels
 * @property {number} height
 * @property {string} weights The id of the weights, 8 hexadecimal digits
 * @property {Uint8Array | null} icc The colour profile that the pixels are in; null for sRGB
 * @property {string | null} comment Of unknown origin: show it with care
 */

/**
 * A header, which says how large the picture is before any of it is there.
 * @typedef {object} Header
 * @property {string} weights
 * @property {number} width
 * @property {number} height
 * @property {number} levels
 * @property {number} k
 * @property {Uint8Array | null} metadata As stored
 * @property {number} payload Where it begins
 * @property {number} end Where the file ends
 */

/**
 * The stream in a whole file.
 * @param {Uint8Array} data
 * @returns {Promise<Stream>}
 * @throws {DdnError} Of the kind that docs/format.md gives for each defect, the first in its order
 */
export async function read(data) {
  const header = readHeader(data);
  if (data.length < header.end) throw brokenOff(data, header);
  if (data.length > header.end) {
    throw new DdnError("TrailingBytes", `the file goes on after the ${header.end} bytes its header speaks of`);
  }
  const body = header.end - CRC_BYTES;
  const stored = new DataView(data.buffer, data.byteOffset).getUint32(body, true);
  if (stored !== crc32(data.subarray(0, body))) {
    throw new DdnError("ChecksumMismatch", "the file is damaged: its CRC32 is not what it says");
  }
  return stream(header, await metadataOf(header), unpack(data.subarray(header.payload, body), header.k, header.levels));
}

/**
 * What there is of a file that may have broken off in its payload or checksum, which then says nothing.
 * @param {Uint8Array} data The file, or its first bytes
 * @returns {Promise<Stream>} With the levels that are whole
 * @throws {DdnError} Truncated where not even one level is whole; else as `read`
 */
export async function readPartial(data) {
  const header = readHeader(data);
  if (data.length >= header.end) return read(data);
  const metadata = await metadataOf(header);
  const latent = unpackStart(data.subarray(header.payload, header.end - CRC_BYTES), header.k, header.levels);
  if (!latent) throw brokenOff(data, header);
  return stream(header, metadata, latent);
}

/**
 * What a file says before its payload.
 * @param {Uint8Array} data The file, or its first bytes
 * @returns {Header}
 * @throws {DdnError} Truncated where more bytes are needed; else as `read`
 */
export function readHeader(data) {
  const cursor = new Cursor(data);
  if (MAGIC.some((byte, i) => i < data.length && data[i] !== byte)) {
    throw new DdnError("BadMagic", "not a .ddn file: it does not begin with dd 4e");
  }
  cursor.take(MAGIC.length);
  const version = cursor.byte();
  if (version !== VERSION)
    throw new DdnError("UnknownVersion", `a .ddn file of version ${version}; ${VERSION} is known`);
  const flags = cursor.byte();
  if (flags & 0b1110_0000) throw new DdnError("ReservedBits", "reserved bits are set in the flags");
  const weights = Array.from(cursor.take(ID_BYTES), (byte) => byte.toString(16).padStart(2, "0")).join("");

  const [width, height, levels] = [cursor.varint(), cursor.varint(), cursor.varint()];
  const log2K = flags & 0b0000_1111;
  const k = log2K ? 1 << log2K : cursor.varint();
  if (!log2K && k >= 2 && k < 2 ** 16 && (k & (k - 1)) === 0) {
    throw new DdnError("BadVarint", `K = ${k} is written as a varint, but the flags can hold it`);
  }
  if (!(width >= 1 && width <= MAX_SIDE && height >= 1 && height <= MAX_SIDE && width * height <= MAX_PIXELS)) {
    throw new DdnError("AbsurdSize", `an image of ${width} x ${height} pixels`);
  }
  const payloadSize = payloadBytes(k, levels);

  let metadata = null;
  if (flags & 0b0001_0000) {
    const size = cursor.varint();
    if (size > MAX_METADATA) {
      throw new DdnError("AbsurdSize", `${size} bytes of metadata; the limit is ${MAX_METADATA}`);
    }
    metadata = cursor.take(size);
  }
  const payload = cursor.position;
  return { weights, width, height, levels, k, metadata, payload, end: payload + payloadSize + CRC_BYTES };
}

/** @param {Header} header */
async function metadataOf(header) {
  return header.metadata ? unpackMetadata(header.metadata) : { icc: null, comment: null };
}

/**
 * @param {Header} header
 * @param {import("./metadata.js").Metadata} metadata
 * @param {import("./latent.js").Latent} latent
 * @returns {Stream}
 */
function stream({ width, height, weights }, metadata, latent) {
  return { latent, width, height, weights, ...metadata };
}

/** @param {Uint8Array} data @param {Header} header */
function brokenOff(data, header) {
  return new DdnError("Truncated", `the file ends after ${data.length} of ${header.end} bytes`);
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

/** @param {Uint8Array} data */
function crc32(data) {
  let crc = 0xffffffff;
  for (const byte of data) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}
