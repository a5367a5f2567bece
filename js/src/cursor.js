import { DdnError } from "./errors.js";

const VARINT_BYTES = 4;

/** Takes fields off the front of bytes; Truncated when they run out. */
export class Cursor {
  /** @param {Uint8Array} data */
  constructor(data) {
    this.data = data;
    this.position = 0;
  }

  /** @param {number} count */
  take(count) {
    const end = this.position + count;
    if (end > this.data.length) {
      throw new DdnError(
        "Truncated",
        `the file ends after ${this.data.length} bytes, inside a field that needs ${end}`,
      );
    }
    const field = this.data.subarray(this.position, end);
    this.position = end;
    return field;
  }

  byte() {
    return this.take(1)[0];
  }

  /** An unsigned LEB128 number of at most four bytes, and no more than it needs. */
  varint() {
    let value = 0;
    for (let i = 0; i < VARINT_BYTES; i++) {
      const byte = this.byte();
      value += (byte & 0x7f) * 128 ** i;
      if (byte < 0x80) {
        if (byte === 0 && i > 0) throw new DdnError("BadVarint", "a number is longer than it need be");
        return value;
      }
    }
    throw new DdnError("BadVarint", `a number is longer than ${VARINT_BYTES} bytes`);
  }
}
