/**
 * Decodes the streams of the conformance kit (docs/conformance.md) and says how far from its pictures they are.
 *
 *     node js/test/kit.js MODELS_JSON [MODEL…]
 *
 * prints, for each of the models or all that the index has, the largest deviation in steps of 8 bits, as JSON.
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { PNG } from "pngjs";

import { Models, open } from "../src/index.js";

const KIT = new URL("../../conformance/", import.meta.url);

/**
 * @typedef {{ model: string, allowed: number, deviation: number, differing: number, streams: number, wrong: string[] }} Report
 *   `differing`: the share of samples that are not the reference's. `wrong`: streams whose size or levels were read as others
 */

/**
 * @param {string} index The address of models.json
 * @param {string[]} names Of models; empty: all there are
 * @returns {Promise<Report[]>}
 */
export async function conformance(index, names) {
  const { weights, cases } = JSON.parse(readFileSync(new URL("manifest.json", KIT), "utf8"));
  const models = await Models.load(index);
  const sheets = new Map();
  const reports = [];
  for (const { id, model, allowed, resolution } of weights) {
    if (!models.list.some(({ name }) => name === model) || (names.length && !names.includes(model))) continue;
    const report = { model, allowed, deviation: 0, differing: 0, streams: 0, wrong: /** @type {string[]} */ ([]) };
    const streams = cases.filter((/** @type {any} */ entry) => entry.weights === id);
    await Promise.all(
      streams.map(async (/** @type {any} */ entry) => {
        const data = readFileSync(new URL(entry.stream, KIT));
        const isBare = entry.form === "bare" || entry.form === "text";
        const picture = await open(entry.form === "text" ? data.toString("latin1") : new Uint8Array(data), {
          models,
          model: isBare ? model : undefined,
          partial: entry.form === "partial",
        });
        if (["levels", "width", "height"].some((field) => picture[field] !== entry[field]))
          report.wrong.push(entry.stream);
        const image = await picture.draw({ size: "network" });
        if (!sheets.has(entry.sheet)) sheets.set(entry.sheet, PNG.sync.read(readFileSync(new URL(entry.sheet, KIT))));
        const sheet = sheets.get(entry.sheet);
        for (let y = 0; y < resolution; y++) {
          for (let i = 0; i < 4 * resolution; i++) {
            const reference = sheet.data[4 * (y * sheet.width + entry.index * resolution) + i];
            const difference = Math.abs(image.data[4 * y * resolution + i] - reference);
            report.deviation = Math.max(report.deviation, difference);
            report.differing += Number(difference > 0);
          }
        }
        report.streams++;
      }),
    );
    report.differing /= report.streams * 3 * resolution ** 2;
    reports.push(report);
  }
  return reports;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [index, ...names] = process.argv.slice(2);
  console.log(JSON.stringify(await conformance(index, names), null, 2));
}
