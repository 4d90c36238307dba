"use strict";

const assert = require("node:assert");
const { parse } = require("/workspace/query.js");

function same(query, expected) {
  assert.deepStrictEqual({ ...parse(query) }, expected);
}

module.exports = {
  "a plus is a space"() {
    same("a=b+c%2Bd&e+f=g", { a: "b c+d", "e f": "g" });
  },
  "repeated names have all values"() {
    same("a=1&b=2&a=3&a=4", { a: ["1", "3", "4"], b: "2" });
  },
  "a name alone has an empty value"() {
    same("a&b=", { a: "", b: "" });
  },
  "only the first sign divides"() {
    same("a=b=c", { a: "b=c" });
  },
  "every name is a name"() {
    const parsed = parse("__proto__=1&constructor=2");
    assert.strictEqual(parsed["__proto__"], "1");
    assert.strictEqual(parsed["constructor"], "2");
    assert.strictEqual(parse("x=1").toString, undefined);
  },
  "what is badly encoded stays"() {
    same("a=%zz", { a: "%zz" });
  },
  "simple queries are read"() {
    same("?a=1&b=%C3%A9", { a: "1", b: "\u00e9" });
    same("", {});
  },
  "empty parts are nothing"() {
    same("&&a=1&", { a: "1" });
  },
};
