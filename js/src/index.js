/** Pictures from .ddn files and bare streams of ddncodec. */

export { bareAspect, readBare } from "./bare.js";
export { read, readHeader, readPartial } from "./container.js";
export { DdnError } from "./errors.js";
export { Model, Models } from "./models.js";
export { Picture, decode, open, setModels } from "./picture.js";
