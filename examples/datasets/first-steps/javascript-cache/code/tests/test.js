"use strict";

const assert = require("node:assert");
const { Cache } = require("../cache.js");

const cache = new Cache(2);
cache.set("a", 1);
cache.set("b", 2);
cache.set("c", 3);
assert.strictEqual(cache.has("a"), false);
assert.strictEqual(cache.get("c"), 3);
