/**
 * <ddn-img src="face.ddn" alt="A face">: an image element for .ddn files and bare streams.
 *
 * Attributes: src, or data-ddn and model (the text of a bare stream, and whose it is); models (the address of the index),
 * look, alt, width, height, levels, and sharpen (draw fewer levels first). What is inside it stands in its place where there is
 * no picture; a child with slot="picture" lies over the picture. Events: progress (drawn, and there is more), load, error.
 */

import { bareAspect } from "./bare.js";
import { MAX_FILE, readHeader } from "./container.js";
import { open } from "./picture.js";

const STEPS = [1 / 8, 1 / 4, 1 / 2]; // shares of the levels that are drawn first
const STYLE = `
  :host { display: inline-block; position: relative; max-width: 100%; }
  canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
  [hidden] { display: none; }
  slot[name="picture"]::slotted(*) { position: absolute; inset: 0; width: 100%; height: 100%; }
`;

const Base = globalThis.HTMLElement ?? class {}; // where there are no elements, as in Node, to import it does no harm

export class DdnImage extends Base {
  static observedAttributes = ["src", "data-ddn", "model", "models", "look", "alt", "width", "height", "levels"];

  #internals = this.attachInternals();
  #canvas = document.createElement("canvas");
  #fallback = document.createElement("slot");
  #size = new CSSStyleSheet();
  /** @type {AbortController | null} */
  #loading = null;
  /** @type {{ src: string, bytes: Uint8Array } | null} The last file, which is drawn anew with other levels */
  #fetched = null;
  /** @type {{ width: string, ratio: number } | null} What the stream says of its size */
  #room = null;

  constructor() {
    super();
    const style = new CSSStyleSheet();
    style.replaceSync(STYLE);
    const over = document.createElement("slot");
    over.name = "picture";
    this.#canvas.setAttribute("part", "canvas");
    this.#canvas.hidden = this.#fallback.hidden = true;
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [style, this.#size];
    root.append(this.#canvas, this.#fallback, over);
  }

  connectedCallback() {
    this.#begin();
  }

  disconnectedCallback() {
    this.#loading?.abort();
    this.#loading = null;
  }

  /** @param {string} name @param {string | null} before @param {string | null} now */
  attributeChangedCallback(name, before, now) {
    if (before === now || !this.isConnected) return;
    if (name === "alt") this.#describe();
    else if (name === "width" || name === "height") this.#layOut();
    else this.#begin();
  }

  /** Load and draw anew, once all attributes that change together have changed. */
  #begin() {
    this.#loading?.abort();
    const { signal } = (this.#loading = new AbortController());
    this.#describe();
    this.#layOut();
    queueMicrotask(async () => {
      if (signal.aborted) return;
      try {
        if (await this.#show(signal)) this.dispatchEvent(new Event("load"));
      } catch (error) {
        if (signal.aborted) return;
        this.#canvas.hidden = true;
        this.#fallback.hidden = false;
        this.#describe();
        this.dispatchEvent(new ErrorEvent("error", { error, message: String(error) }));
      }
    });
  }

  /**
   * Draw what the attributes ask for; false where they ask for nothing.
   * @param {AbortSignal} signal
   */
  async #show(signal) {
    const text = this.getAttribute("data-ddn");
    const src = this.getAttribute("src");
    if (text !== null) {
      this.#room = { width: "100%", ratio: bareAspect(text) }; // a bare stream has no size of its own
      this.#layOut();
      await this.#draw(text, { signal, model: this.getAttribute("model") ?? "" });
    } else if (src) {
      const known = this.#fetched?.src === src ? this.#fetched.bytes : null;
      await this.#draw(known ?? (await this.#fetch(src, signal)), { signal });
    }
    return text !== null || Boolean(src);
  }

  /**
   * Fetch a file, and draw what there is of it whenever more has come and the last is drawn.
   * @param {string} src
   * @param {AbortSignal} signal
   */
  async #fetch(src, signal) {
    const response = await fetch(new URL(src, document.baseURI), { signal });
    if (!response.ok || !response.body) throw new Error(`${src}: ${response.status}`);
    const reader = response.body.getReader();
    let bytes = new Uint8Array();
    /** @type {Promise<void> | null} */
    let drawing = null;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const longer = new Uint8Array(bytes.length + value.length);
      longer.set(bytes);
      longer.set(value, bytes.length);
      bytes = longer;
      if (bytes.length > MAX_FILE) {
        reader.cancel();
        break;
      }
      drawing ??= this.#drawStart(bytes, signal).finally(() => (drawing = null));
    }
    await drawing;
    this.#fetched = { src, bytes };
    return bytes;
  }

  /**
   * Lay out and draw what the first bytes of a file say, if anything.
   * @param {Uint8Array} bytes
   * @param {AbortSignal} signal
   */
  async #drawStart(bytes, signal) {
    try {
      const { width, height, end } = readHeader(bytes);
      this.#room = { width: `${width}px`, ratio: width / height };
      this.#layOut();
      if (bytes.length >= end) return; // the whole file, which is drawn when nothing follows
      await this.#draw(bytes, { signal, partial: true });
      this.dispatchEvent(new Event("progress"));
    } catch {
      // No level is whole yet; or something is wrong, which will be told of the whole file.
    }
  }

  /**
   * @param {Uint8Array | string} data
   * @param {{ signal: AbortSignal, model?: string, partial?: boolean }} options
   */
  async #draw(data, { signal, model, partial = false }) {
    const [models, look] = ["models", "look"].map((name) => this.getAttribute(name) ?? undefined);
    const picture = await open(data, { model, partial, models, look });
    const wanted = Number(this.getAttribute("levels") ?? picture.levels);
    const levels = Math.min(Math.max(Math.trunc(wanted) || 1, 1), picture.levels);
    const first = this.hasAttribute("sharpen") && !partial && this.#canvas.hidden && !isStill() ? STEPS : [];
    for (const share of first) {
      await this.#paint(picture, Math.ceil(share * levels), signal);
      this.dispatchEvent(new Event("progress"));
    }
    await this.#paint(picture, levels, signal);
  }

  /**
   * @param {import("./picture.js").Picture} picture
   * @param {number} levels
   * @param {AbortSignal} signal
   */
  async #paint(picture, levels, signal) {
    const image = await picture.draw({ levels, size: "network", signal }); // the browser enlarges it
    signal.throwIfAborted();
    this.#canvas.width = image.width;
    this.#canvas.height = image.height;
    this.#canvas.getContext("2d")?.putImageData(image, 0, 0);
    this.#canvas.hidden = false;
    this.#fallback.hidden = true;
    this.#describe();
  }

  /** Take the picture's room: its own size, unless attributes or the page's style say otherwise. */
  #layOut() {
    const [width, height] = ["width", "height"].map((name) => Number.parseFloat(this.getAttribute(name) ?? ""));
    const ratio = width && height ? width / height : this.#room?.ratio;
    const across = width ? `${width}px` : this.#room?.width;
    this.#size.replaceSync(`:host { ${across ? `width: ${across};` : ""} ${ratio ? `aspect-ratio: ${ratio};` : ""} }`);
  }

  /** Say to assistive technology what is shown: the picture, or what stands in its place. */
  #describe() {
    const alt = this.getAttribute("alt") ?? "";
    this.#fallback.textContent = alt; // where nothing else is in its place
    const isPicture = this.#fallback.hidden && alt;
    this.#internals.role = isPicture ? "img" : null;
    this.#internals.ariaLabel = isPicture ? alt : null;
  }
}

/** Whether people asked for less that moves. */
function isStill() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

globalThis.customElements?.define("ddn-img", DdnImage);
