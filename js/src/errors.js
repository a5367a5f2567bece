/** Anything that is refused; `kind` is the error's name in docs/format.md, and the text is one line, meant for people. */
export class DdnError extends Error {
  /**
   * @param {string} kind Such as "BadMagic"
   * @param {string} message What is wrong
   */
  constructor(kind, message) {
    super(message);
    this.name = "DdnError";
    this.kind = kind;
  }
}
