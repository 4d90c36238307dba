"use strict";

/** Keeps so many values; the one that was used longest ago goes first. */
class Cache {
  constructor(size) {
    if (!(size > 0)) throw new RangeError("size must be above 0");
    this.size = size;
    this.values = new Map();
  }

  get(key) {
    return this.values.get(key);
  }

  has(key) {
    return this.values.get(key) !== undefined;
  }

  set(key, value) {
    if (this.values.size >= this.size) {
      this.values.delete(this.values.keys().next().value);
    }
    this.values.set(key, value);
  }
}

module.exports = { Cache };
