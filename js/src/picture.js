/** From a stream to a picture. */

import { readBare } from "./bare.js";
import { read, readPartial } from "./container.js";
import { Models } from "./models.js";
import { fit } from "./resample.js";

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
 * @typedef {object} OpenOptions
 * @property {string | URL | Models} [models] The index of models, or its address; models/models.json, unless `setModels` was called
 * @property {string} [model] The name of the model of a bare stream, which cannot say so itself
 * @property {string} [look] What the network draws with: `faithful`, as by default, or another look that it has
 * @property {boolean} [partial] Take what there is of a file that broke off
 */

/**
 * @typedef {object} DrawOptions
 * @property {number} [levels] So many at most; fewer are coarser
 * @property {"original" | "network"} [size] As large as the original was, as by default; or as the network draws it, a square
 * @property {AbortSignal} [signal] Tells that the picture is not wanted any more
 */

/** A stream that was read, and the network that draws it. */
export class Picture {
  #latent;
  #network;

  /**
   * @param {{ latent: import("./latent.js").Latent, width: number, height: number }} stream
   * @param {import("./models.js").Model} network
   */
  constructor({ latent, width, height }, network) {
    this.#latent = latent;
    this.#network = network;
    this.width = width;
    this.height = height;
    this.levels = latent.picks.length;
  }

  /**
   * @param {DrawOptions} [options]
   * @returns {Promise<ImageData>} In Node an object of the same shape: data (RGBA), width and height
   */
  async draw({ levels = this.levels, size = "original", signal } = {}) {
    if (!(Number.isInteger(levels) && levels >= 1)) throw new RangeError(`levels must be above 0, not ${levels}`);
    const { picks, k } = this.#latent;
    const pixels = await this.#network.draw({ picks: picks.subarray(0, levels), k }, signal);
    const side = this.#network.resolution;
    const [width, height] = size === "network" ? [side, side] : [this.width, this.height];
    const data = fit(pixels, side, width, height);
    if (globalThis.ImageData) return new ImageData(data, width, height);
    return /** @type {ImageData} */ ({ data, width, height, colorSpace: "srgb" });
  }
}

/**
 * Read a .ddn file or a bare stream, and find its network.
 * @param {Uint8Array | ArrayBuffer | string} data The bytes; of a bare stream its text, too
 * @param {OpenOptions} [options]
 * @returns {Promise<Picture>}
 * @throws {import("./errors.js").DdnError} Of the kind that docs/format.md gives for each defect; UnknownWeights
 */
export async function open(data, { models = defaultModels, model, look = "faithful", partial = false } = {}) {
  const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : data;
  const known = async () => (models instanceof Models ? models : Models.load(models));
  if (model !== undefined) {
    const network = (await known()).byName(model).withLook(look);
    return new Picture(readBare(bytes, network), network);
  }
  if (typeof bytes === "string")
    throw new TypeError("text is of a bare stream, and names no model: say which by `model`");
  const stream = await (partial ? readPartial : read)(bytes);
  return new Picture(stream, (await known()).byId(stream.weights).withLook(look));
}

/**
 * The picture of a .ddn file or of a bare stream: `open` and `draw` in one.
 * @param {Uint8Array | ArrayBuffer | string} data As in `open`
 * @param {OpenOptions & DrawOptions} [options]
 * @returns {Promise<ImageData>} As of `draw`
 * @throws {import("./errors.js").DdnError} As `open`
 */
export async function decode(data, options) {
  return (await open(data, options)).draw(options);
}
