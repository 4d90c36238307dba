// Keeps a JavaScript interpreter for Sandshell: takes pieces of code on descriptor 3, runs them, and answers there.
//
// One JSON object is a line. It takes {"code": TEXT} and answers {"result": …} and {"error": …} as often as there are any,
// then {"done": true}. What the code prints goes to the standard streams, as in any program.
(() => {
  "use strict";
  const net = require("net");
  const util = require("util");
  const vm = require("vm");
  const path = require("path");
  const MOST = 2 << 20;
  const channel = new net.Socket({ fd: 3, readable: true, writable: true });
  let number = 0;
  let abandon = null;

  globalThis.require = require("module").createRequire(path.join(process.cwd(), "code"));
  globalThis.module = { exports: {} };
  globalThis.exports = globalThis.module.exports;

  const say = (message) => new Promise((done) => channel.write(JSON.stringify(message) + "\n", done));

  const tell = (value, isMain) => {
    let text = typeof value === "string" ? value : util.inspect(value, { depth: 4 });
    const left_out = [];
    if (text.length > MOST) {
      text = text.slice(0, MOST);
      left_out.push("text/plain");
    }
    const data = {};
    if (value !== null && typeof value === "object") {
      try {
        const json = JSON.stringify(value);
        if (json !== undefined && json.length <= MOST) data["application/json"] = Buffer.from(json).toString("base64");
      } catch {
        // What refers to itself has no JSON.
      }
    }
    return say({ result: { text, data, is_main: isMain, left_out } });
  };

  globalThis.display = (...values) => {
    for (const value of values) tell(value, false);
  };

  const tellError = (error) => {
    const is = error instanceof Error || (error !== null && typeof error === "object" && "stack" in error);
    let name = is ? String(error.name) : "Error";
    if (is && error.code === "ERR_SCRIPT_EXECUTION_INTERRUPTED") name = "Interrupted";
    const message = is ? String(error.message) : util.inspect(error);
    const own = (line) => line.includes("[eval]") || line.includes("node:");
    const lines = is ? String(error.stack).split("\n").filter((line) => !own(line)) : [message];
    return say({ error: { name, message: message.slice(0, 65536), traceback: lines.join("\n").slice(0, MOST) } });
  };

  const syntaxError = (text) => {
    try {
      new vm.Script(text);
      return null;
    } catch (error) {
      return error;
    }
  };

  // Text with `await` at the top is evaluated as the debugger's console does: it has a value, and its names stay.
  const session = new (require("inspector").Session)();
  let evaluation = null;
  let handed = null;
  Object.defineProperty(globalThis, Symbol.for("sandshell.evaluation"), { value: () => evaluation() });
  Object.defineProperty(globalThis, Symbol.for("sandshell.hand"), { value: (value) => (handed = value) });

  const post = (method, params) =>
    new Promise((done, failed) => session.post(method, params, (error, answer) => (error ? failed(error) : done(answer))));

  const value = async ({ objectId, value, unserializableValue }) => {
    const { result } = await post("Runtime.evaluate", { expression: "globalThis" });
    const functionDeclaration = "function (value) { this[Symbol.for('sandshell.hand')](value); }";
    const argument = objectId ? { objectId } : unserializableValue ? { unserializableValue } : { value };
    await post("Runtime.callFunctionOn", { objectId: result.objectId, functionDeclaration, arguments: [argument] });
    const got = handed;
    handed = null;
    return got;
  };

  const evaluate = async (text) => {
    session.connect();
    try {
      const options = { expression: text, replMode: true, awaitPromise: true };
      const { result, exceptionDetails } = await post("Runtime.evaluate", options);
      if (exceptionDetails) throw await value(exceptionDetails.exception ?? { value: exceptionDetails.text });
      return result.type === "undefined" ? undefined : await value(result);
    } finally {
      session.disconnect();
    }
  };

  const execute = (text) => {
    const filename = `code-${(number += 1)}.js`;
    const options = { filename, breakOnSigint: true };
    const loader = vm.constants && vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
    if (loader) options.importModuleDynamically = loader;
    const error = syntaxError(text);
    // `await (…)` is a call outside of functions, of something that nobody has.
    if (error !== null ? /\bawait\b/.test(text) : /\bawait\s*\(/.test(text)) {
      evaluation = () => evaluate(text);
      return vm.runInThisContext("globalThis[Symbol.for('sandshell.evaluation')]()", { breakOnSigint: true });
    }
    // An object literal is a value, as a person means it who writes nothing else.
    if (/^\s*\{/.test(text) && !/;\s*$/.test(text) && syntaxError(`(${text}\n)`) === null) {
      return vm.runInThisContext(`(${text}\n)`, options);
    }
    return vm.runInThisContext(text, options);
  };

  // What was printed and has not gone yet. A stream that is broken or closed has nothing more to say.
  const flushed = (stream) =>
    new Promise((done) => {
      if (stream.writable === false || stream.destroyed) return done();
      const end = () => {
        stream.off("error", end);
        done();
      };
      stream.once("error", end);
      stream.write("", end);
    });

  const take = async (text) => {
    try {
      let value = execute(text);
      if (value !== null && typeof value === "object" && typeof value.then === "function") {
        const given_up = new Promise((_, reject) => {
          abandon = () => reject(Object.assign(new Error("the code was interrupted"), { name: "Interrupted" }));
        });
        value = await Promise.race([value, given_up]);
      }
      if (value !== undefined) {
        globalThis._ = value;
        await tell(value, true);
      }
    } catch (error) {
      await tellError(error);
    }
    abandon = null;
    await Promise.all([process.stdout, process.stderr].map(flushed));
    await say({ done: true });
  };

  process.on("SIGINT", () => {
    if (abandon !== null) abandon();
  });
  for (const event of ["uncaughtException", "unhandledRejection"]) {
    process.on(event, (error) => {
      console.error(error);
    });
  }

  let pending = [];
  let turn = Promise.resolve();
  channel.on("data", (data) => {
    for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10)) {
      const line = Buffer.concat([...pending, data.subarray(0, end)]).toString();
      pending = [];
      data = data.subarray(end + 1);
      turn = turn.then(() => take(JSON.parse(line).code));
    }
    if (data.length > 0) pending.push(data);
  });
  channel.on("end", () => process.exit(0));
})();
