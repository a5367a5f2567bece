/** Pictures from .ddn files and bare streams of ddncodec. */

import { readBare } from "./bare.js";
import { read, readPartial } from "./container.js";
import { Models } from "./models.js";
import { fit } from "./resample.js";

export { bareAspect, readBare } from "./bare.js";
export { read, readHeader, readPartial } from "./container.js";
export { DdnError } from "./errors.js";
export { Model, Models } from "./models.js";

/** @type {string | URL | Models} */
let defaultModels = "models/models.json";

/**
 * Say where models are, wherever it is not said.
 * @param {string | URL | Models} models
 */
export function setModels(models) {
  defaultModels = models;
}

/**
 * @typedef {object} DecodeOptions
 * @property {string | URL | Models} [models] The index of models, or its address: models/models.json, unless `setModels` was called
 * @property {string} [model] The name of the model of a bare stream, which cannot say so itself
 * @property {number} [levels] Draw so many levels at most
 * @property {boolean} [partial] Draw what there is of a file that broke off
 * @property {"original" | "network"} [size] As large as the original was (the default), or as the network draws it, a square
 * @property {AbortSignal} [signal] That the picture is not wanted any more
 */

/**
 * The picture of a .ddn file, or of a bare stream.
 * @param {Uint8Array | ArrayBuffer | string} data The bytes; of a bare stream its text, too
 * @param {DecodeOptions} [options]
 * @returns {Promise<ImageData>} In Node an object of the same shape: data (RGBA), width and height
 * @throws {import("./errors.js").DdnError} Of the kind that docs/format.md gives for each defect; UnknownWeights
 */
export async function decode(data, { models = defaultModels, model, levels, partial = false, size = "original", signal } = {}) {
  const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : data;
  const { stream, network } = await open(bytes, { models, model, partial });
  const pixels = await network.draw(prefix(stream.latent, levels), signal);
  const [width, height] = size === "network" ? [network.resolution, network.resolution] : [stream.width, stream.height];
  return imageData(fit(pixels, network.resolution, width, height), width, height);
}

/**
 * A stream and the network that it is for.
 * @param {Uint8Array | string} data
 * @param {{ models: string | URL | Models, model: string | undefined, partial: boolean }} options
 */
async function open(data, { models, model, partial }) {
  const known = async () => (models instanceof Models ? models : Models.load(models));
  if (model !== undefined) {
    const network = (await known()).byName(model);
    return { stream: readBare(data, network), network };
  }
  if (typeof data === "string") throw new TypeError("text is of a bare stream, and names no model: say which by `model`");
  const stream = await (partial ? readPartial : read)(data);
  return { stream, network: (await known()).byId(stream.weights) };
}

/**
 * @param {import("./latent.js").Latent} latent
 * @param {number | undefined} levels
 */
function prefix({ picks, k }, levels = picks.length) {
  if (!(Number.isInteger(levels) && levels >= 1)) throw new RangeError(`levels must be above 0, not ${levels}`);
  return { picks: picks.subarray(0, levels), k };
}

/**
 * @param {Uint8ClampedArray<ArrayBuffer>} data
 * @param {number} width
 * @param {number} height
 */
function imageData(data, width, height) {
  if (globalThis.ImageData) return new ImageData(data, width, height);
  return /** @type {ImageData} */ ({ data, width, height, colorSpace: "srgb" });
}
