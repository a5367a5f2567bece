/** The readers say of every vector what Python's say. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { bareAspect, readBare } from "../src/bare.js";
import { read, readHeader, readPartial } from "../src/container.js";
import { DdnError } from "../src/errors.js";
import { packedBits, unpack } from "../src/latent.js";

const VECTORS = JSON.parse(readFileSync(new URL("../../tests/vectors/streams.json", import.meta.url), "utf8"));
const READERS = { file: read, partial: readPartial, bare: readBare };

const bytes = (base64) => new Uint8Array(Buffer.from(base64, "base64"));

for (const tested of Object.keys(READERS)) {
  test(`every vector of the form ${tested}`, async () => {
    for (const { name, form, data, k, resolution, error, stream: expected } of VECTORS) {
      if (form !== tested) continue;
      const reading = async () => READERS[form](bytes(data), { k, resolution });
      if (error) {
        const { message, kind, constructor } = await reading().then(() => ({}), (thrown) => thrown);
        assert.deepEqual([constructor, kind], [DdnError, error], `${name}: ${message}`);
        assert.ok(message && !message.includes("\n"), name);
        continue;
      }
      const { latent, width, height, weights, icc, comment } = await reading();
      const found = { width, height, k: latent.k, picks: [...latent.picks] };
      const profile = icc && Buffer.from(icc).toString("base64");
      assert.deepEqual(form === "bare" ? found : { ...found, weights, comment, icc: profile }, expected, name);
    }
  });
}

test("there are vectors of each form and each kind of error", () => {
  assert.ok(VECTORS.length > 300);
  const kinds = new Set(VECTORS.map(({ error }) => error));
  assert.ok(kinds.size >= 13);
});

test("a stream may be part of a larger buffer", async () => {
  const { data } = VECTORS.find(({ name }) => name === "rich");
  const larger = new Uint8Array([1, 2, 3, ...bytes(data), 4]);
  const { comment, width } = await read(larger.subarray(3, -1));
  assert.deepEqual([comment, width], ["Grüße", 300]);
});

test("text of a bare stream may be a string", () => {
  assert.deepEqual(
    [...readBare(" x7Lo\n", { k: 2, resolution: 64 }).latent.picks],
    [1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0],
  );
  assert.ok(Math.abs(bareAspect("x7Lo") - 4 / 3) < 0.03);
});

test("the header is read as soon as it is there, and not before", () => {
  const data = bytes(VECTORS.find(({ name }) => name === "plain").data);
  const { width, height, levels, k } = readHeader(data.subarray(0, 13));
  assert.deepEqual([width, height, levels, k], [300, 200, 12, 2]);
  assert.throws(() => readHeader(data.subarray(0, 12)), { kind: "Truncated" });
});

test("bits of a latent are counted exactly, also where their number is nearly whole", () => {
  for (const [k, levels] of [
    [3, 12],
    [3, 665],
    [5, 28],
    [10, 93],
    [1000, 31],
    [65_535, 16],
    [40_000, 2_531],
    [65_535, 65_535],
    [3, 65_535],
  ]) {
    const exact = (BigInt(k) ** BigInt(levels) - 1n).toString(2).length;
    assert.equal(packedBits(k, levels), exact, `${k}^${levels}`);
  }
  for (let k = 2; k < 300; k++) {
    for (let levels = 1; levels < 30; levels++) {
      assert.equal(packedBits(k, levels), (BigInt(k) ** BigInt(levels) - 1n).toString(2).length);
    }
  }
});

test("the largest latents are read", () => {
  const whole = new Uint8Array(131_070).fill(255);
  assert.ok(unpack(whole, 65_536, 65_535).picks.every((pick) => pick === 65_535));
  const number = (65_535n ** 65_535n - 1n) << BigInt(8 * 131_070 - packedBits(65_535, 65_535));
  const odd = bytes(Buffer.from(number.toString(16).padStart(2 * 131_070, "0"), "hex").toString("base64"));
  assert.ok(unpack(odd, 65_535, 65_535).picks.every((pick) => pick === 65_534));
});
