/** Pictures: of the conformance kit, at other sizes, and what is refused. DDN_MODELS is the address of models.json. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";

import { DdnError, Models, decode, open, setModels } from "../src/index.js";
import { fit } from "../src/resample.js";
import { conformance } from "./kit.js";

setFlagsFromString("--liftoff-only"); // to optimise WebAssembly takes longer than the few pictures here

const MODELS = process.env.DDN_MODELS;
const KIT = new URL("../../conformance/", import.meta.url);
const FITTED = JSON.parse(readFileSync(new URL("../../tests/vectors/fitted.json", import.meta.url), "utf8"));
const withModels = { skip: MODELS ? false : "DDN_MODELS names no index of models" };

const bytes = (base64) => new Uint8Array(Buffer.from(base64, "base64"));
const cases = JSON.parse(readFileSync(new URL("manifest.json", KIT), "utf8")).cases;
const streamOf = (start, form) => {
  const { stream } = cases.find((entry) => entry.stream.startsWith(`streams/${start}`) && entry.form === form);
  return new Uint8Array(readFileSync(new URL(stream, KIT)));
};

test("pictures are resampled to the numbers that Pillow gives", () => {
  for (const { side, width, height, pixels, fitted } of FITTED) {
    const rgba = fit(bytes(pixels), side, width, height);
    assert.deepEqual(
      Buffer.from(rgba.filter((_, i) => i % 4 < 3)).toString("base64"),
      fitted,
      `${side} to ${width} x ${height}`,
    );
    assert.ok(rgba.every((value, i) => i % 4 < 3 || value === 255));
  }
});

test("streams of the kit decode to their pictures", withModels, async () => {
  const reports = await conformance(MODELS, []);
  assert.ok(reports.length >= 2);
  for (const { model, deviation, allowed, streams, wrong } of reports) {
    assert.ok(streams > 5, model);
    assert.ok(deviation <= allowed, `${model}: ${deviation}`);
    assert.deepEqual(wrong, [], model);
  }
});

test("a picture has the original's size, and fewer levels are those of a shorter stream", withModels, async () => {
  setModels(MODELS);
  const data = streamOf("placeholder", "file");
  const picture = await open(data);
  const image = await decode(data);
  assert.deepEqual(
    [image.width, image.height, image.data.length],
    [picture.width, picture.height, 4 * picture.width * picture.height],
  );
  assert.ok(image.data instanceof Uint8ClampedArray);
  const [coarse, network] = await Promise.all([decode(data, { levels: 9 }), decode(data, { size: "network" })]);
  assert.notDeepEqual(coarse.data, image.data);
  assert.deepEqual([network.width, network.height], [32, 32]);
  const { buffer } = Uint8Array.from(data); // a buffer of its own
  assert.deepEqual((await decode(buffer, { levels: 10 ** 6 })).data, image.data);
  await assert.rejects(decode(data, { levels: 0 }), RangeError);
});

test("what cannot be drawn is refused by name", withModels, async () => {
  const models = await Models.load(MODELS);
  const refused = (kind) => (error) => error instanceof DdnError && error.kind === kind;
  const data = streamOf("placeholder", "file");
  const foreign = Uint8Array.from(data);
  foreign[4] ^= 1;
  await assert.rejects(decode(foreign, { models }), refused("ChecksumMismatch"));
  await assert.rejects(decode(data.subarray(0, 20), { models }), refused("Truncated"));
  await assert.rejects(
    decode(data.subarray(0, 20), { models: new Models([], new URL("file:///")), partial: true }),
    refused("UnknownWeights"),
  );
  const bare = streamOf("placeholder", "bare");
  await assert.rejects(decode(bare, { models, model: "none" }), refused("UnknownWeights"));
  await assert.rejects(decode(bare, { models }), refused("BadMagic"));
  await assert.rejects(decode("wAAA", { models }), TypeError);
  const other = models.list.find(({ k }) => k > 2);
  await assert.rejects(other.draw({ picks: new Uint16Array(1), k: 2 }), refused("UnknownWeights"));
});

test("a picture that is not wanted any more is not drawn", withModels, async () => {
  const picture = await open(streamOf("placeholder", "bare"), { models: MODELS, model: "placeholder" });
  const controller = new AbortController();
  const [kept, left] = [picture.draw(), picture.draw({ signal: controller.signal })];
  controller.abort();
  await assert.rejects(left, { name: "AbortError" });
  assert.equal((await kept).width, picture.width);
});

test("an index that is not there may be there the next time", async () => {
  await assert.rejects(Models.load("/nowhere/models.json"), { code: "ENOENT" });
  await assert.rejects(Models.load("/nowhere/models.json"), { code: "ENOENT" });
});

test("the element can be imported where there are no elements", async () => {
  assert.equal(typeof (await import("../src/element.js")).DdnImage, "function");
});
