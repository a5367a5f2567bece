/** Networks: an index that names them, and the exported decoder of each, which onnxruntime-web runs. */

import { DdnError } from "./errors.js";

const FORMAT = "ddncodec-models-1";
const FAITHFUL = "faithful"; // the look of the weights' own refiner
const BATCH = 16; // latents that one run decodes; between two runs the page may draw

/**
 * A file of a model.
 * @typedef {{ url: string, bytes: number }} ModelFile
 */

/**
 * A refiner in the place of the weights' own.
 * @typedef {ModelFile & { name: string, places: [number, number, number][] }} LookFile
 *   `places`: for each of its tensors where it is in the file, where in the weights it goes, and how many bytes it has
 */

/**
 * A model, as the index names it. `ddncodec models copy` writes an index.
 * @typedef {object} ModelEntry
 * @property {string} name
 * @property {string} id What streams name the weights by, 8 hexadecimal digits
 * @property {string[]} earlier Ids of weights whose streams these decode too
 * @property {number} k
 * @property {number} levels
 * @property {number} resolution
 * @property {ModelFile} graph The network as ONNX
 * @property {ModelFile & { path: string }} weights Which the graph reads, by that name
 * @property {LookFile[]} [looks] What it draws with besides `faithful`, its own refiner
 */

/** @typedef {import("./latent.js").Latent} Latent */

/** The models of an index. */
export class Models {
  /**
   * @param {ModelEntry[]} entries
   * @param {URL} url Of the index, which the files' addresses are relative to
   */
  constructor(entries, url) {
    this.list = entries.map((entry) => new Model(entry, url));
  }

  /**
   * Fetch an index, once.
   * @param {string | URL} address Relative to the page; in Node, to the working directory
   * @returns {Promise<Models>}
   */
  static load(address) {
    const url = new URL(address, base());
    let models = loaded.get(url.href);
    if (!models) {
      models = fetchModels(url);
      loaded.set(url.href, models);
      models.catch(() => loaded.delete(url.href)); // it may be there next time
    }
    return models;
  }

  /**
   * The model of a stream's weights.
   * @param {string} id
   * @throws {DdnError} UnknownWeights
   */
  byId(id) {
    return this.#find(
      (model) => model.id === id || model.earlier.includes(id),
      `it was made with the weights ${id}, which are not among the models here`,
    );
  }

  /**
   * The model of a name.
   * @param {string} name
   * @throws {DdnError} UnknownWeights
   */
  byName(name) {
    return this.#find((model) => model.name === name, `no model named ${name}`);
  }

  /** @param {(model: Model) => boolean} is @param {string} otherwise */
  #find(is, otherwise) {
    const model = this.list.find(is);
    if (!model) throw new DdnError("UnknownWeights", otherwise);
    return model;
  }
}

/** A network. Its files are fetched when it first draws. */
export class Model {
  /** @type {Promise<(latents: Latent[]) => Promise<Uint8Array[]>> | null} */
  #run = null;
  /** @type {{ latent: Latent, signal?: AbortSignal, resolve: (pixels: Uint8Array) => void, reject: (reason: unknown) => void }[]} */
  #waiting = [];
  #busy = false;
  /** @type {Map<string, Model>} */
  #withLooks = new Map();

  #entry;
  #url;
  #look;

  /**
   * @param {ModelEntry} entry
   * @param {URL} url Of the index
   * @param {LookFile} [look]
   */
  constructor(entry, url, look) {
    this.#entry = entry;
    this.#url = url;
    this.#look = look;
    this.name = entry.name;
    this.id = entry.id;
    this.earlier = entry.earlier;
    this.k = entry.k;
    this.levels = entry.levels;
    this.resolution = entry.resolution;
    this.looks = [FAITHFUL, ...(entry.looks ?? []).map(({ name }) => name)];
    this.bytes = entry.graph.bytes + entry.weights.bytes + (look?.bytes ?? 0); // of all that is fetched
  }

  /**
   * The same network with another look.
   * @param {string} name One of `looks`
   * @returns {Model}
   * @throws {DdnError} UnknownWeights where it has none of this name
   */
  withLook(name) {
    if (name === (this.#look?.name ?? FAITHFUL)) return this;
    const look = this.#entry.looks?.find((one) => one.name === name);
    if (!look && name !== FAITHFUL) {
      throw new DdnError("UnknownWeights", `${this.name} has no look ${name}; it has ${this.looks.join(", ")}`);
    }
    const known = this.#withLooks.get(name) ?? new Model(this.#entry, this.#url, look);
    this.#withLooks.set(name, known);
    return known;
  }

  /**
   * The image of a latent. Those that are asked for together are drawn together.
   * @param {Latent} latent
   * @param {AbortSignal} [signal] That it is not wanted any more
   * @returns {Promise<Uint8Array>} RGB, resolution × resolution × 3
   * @throws {DdnError} UnknownWeights where the latent is of another network
   */
  async draw(latent, signal) {
    if (latent.k !== this.k || latent.picks.length > this.levels) {
      throw new DdnError(
        "UnknownWeights",
        `${latent.picks.length} levels of ${latent.k} are not of ${this.name}, which has ${this.levels} levels of ${this.k}`,
      );
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ latent, signal, resolve, reject });
      this.#work();
    });
  }

  async #work() {
    if (this.#busy) return;
    this.#busy = true;
    for (;;) {
      const run = await this.#ready().catch((reason) => async () => {
        throw reason;
      });
      for (const { signal, reject } of this.#waiting) if (signal?.aborted) reject(signal.reason);
      this.#waiting = this.#waiting.filter(({ signal }) => !signal?.aborted);
      const batch = this.#waiting.splice(0, BATCH);
      if (!batch.length) break;
      try {
        const images = await run(batch.map(({ latent }) => latent));
        batch.forEach(({ resolve }, i) => resolve(images[i]));
      } catch (reason) {
        batch.forEach(({ reject }) => reject(reason));
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
    this.#busy = false;
  }

  #ready() {
    if (!this.#run) {
      this.#run = this.#load();
      this.#run.catch(() => (this.#run = null));
    }
    return this.#run;
  }

  async #load() {
    const files = [this.#entry.graph, this.#entry.weights, ...(this.#look ? [this.#look] : [])];
    const [ort, graph, weights, look] = await Promise.all([
      import("onnxruntime-web/wasm"),
      ...files.map(({ url }) => fetchBytes(new URL(url, this.#url))),
    ]);
    for (const [from, to, length] of this.#look?.places ?? []) weights.set(look.subarray(from, from + length), to);
    ort.env.wasm.numThreads ??= 1; // these networks are too small for more
    const session = await ort.InferenceSession.create(graph, {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
      externalData: [{ path: this.#entry.weights.path, data: weights }],
      logSeverityLevel: 3,
    });
    return async (/** @type {Latent[]} */ latents) => {
      const picks = new BigInt64Array(latents.length * this.levels);
      latents.forEach((latent, row) =>
        latent.picks.forEach((pick, level) => (picks[row * this.levels + level] = BigInt(pick))),
      );
      const levels = BigInt64Array.from(latents, (latent) => BigInt(latent.picks.length));
      const { pixels } = await session.run({
        picks: new ort.Tensor("int64", picks, [latents.length, this.levels]),
        levels: new ort.Tensor("int64", levels, [latents.length]),
      });
      const size = 3 * this.resolution ** 2;
      return latents.map((_, i) => /** @type {Uint8Array} */ (pixels.data).slice(i * size, (i + 1) * size));
    };
  }
}

/** @type {Map<string, Promise<Models>>} */
const loaded = new Map();

/** @param {URL} url */
async function fetchModels(url) {
  const index = JSON.parse(new TextDecoder().decode(await fetchBytes(url)));
  if (index.format !== FORMAT) throw new Error(`${url} is no index of models that this version reads`);
  return new Models(index.models, url);
}

/** @param {URL} url */
async function fetchBytes(url) {
  if (url.protocol === "file:" && !globalThis.document) {
    const module = "node:fs/promises"; // not known to be there, nor to bundlers
    const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ module);
    return new Uint8Array(await readFile(url));
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** What addresses are relative to. */
function base() {
  return globalThis.document?.baseURI ?? globalThis.location?.href ?? `file://${globalThis.process.cwd()}/`;
}
