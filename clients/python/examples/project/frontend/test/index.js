require("assert").strictEqual(require("..")(), "HELLO!");
console.log("1 test passed");
