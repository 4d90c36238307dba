"use strict";

const assert = require("node:assert");
const { parse } = require("../query.js");

assert.deepEqual(parse("?a=1&b=%C3%A9"), { a: "1", b: "\u00e9" });
assert.deepEqual(parse(""), {});
