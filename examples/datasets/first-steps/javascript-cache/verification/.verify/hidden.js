"use strict";

const assert = require("node:assert");
const { Cache } = require("/workspace/cache.js");

function of(size, ...keys) {
  const cache = new Cache(size);
  for (const key of keys) cache.set(key, key + key);
  return cache;
}

module.exports = {
  "reading is use"() {
    const cache = of(2, "a", "b");
    assert.strictEqual(cache.get("a"), "aa");
    cache.set("c", "cc");
    assert.ok(cache.has("a") && !cache.has("b") && cache.has("c"));
  },
  "replacing forgets nothing"() {
    const cache = of(2, "a", "b");
    cache.set("b", "new");
    assert.ok(cache.has("a"));
    assert.strictEqual(cache.get("b"), "new");
  },
  "undefined is a value"() {
    const cache = of(2);
    cache.set("a", undefined);
    assert.ok(cache.has("a") && !cache.has("b"));
  },
  "asking is no use"() {
    const cache = of(2, "a", "b");
    cache.has("a");
    cache.set("c", "cc");
    assert.ok(!cache.has("a"));
  },
  "the oldest goes first"() {
    const cache = of(2, "a", "b", "c");
    assert.ok(!cache.has("a") && cache.has("b") && cache.has("c"));
  },
  "a size is needed"() {
    assert.throws(() => new Cache(0), RangeError);
  },
};
