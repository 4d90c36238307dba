// Keeps a JavaScript interpreter for Sandshell: takes pieces of code on descriptor 3, runs them, and answers there.
//
// One JSON object is a line. It takes {"code": TEXT, "last": BOOL} and answers {"result": …} and {"error": …} as often as there are
// any, then {"done": true}. What the code prints goes to the standard streams, as in any program. After the last piece, and when the
// other end of the descriptor is closed, the process ends as any program of Node ends: when it has nothing more to do.
//
// The code can change every global name and every prototype. So all that is needed later is taken at the start and kept in local names,
// methods as functions that take their object as the first argument; and the messages are put together from texts.
(() => {
  "use strict";
  const { bind, call } = Function.prototype;
  const method = (of) => bind.call(call, of);
  const { Error: ErrorOf, Promise: PromiseOf, String: textOf } = globalThis;
  const { assign, defineProperty } = Object;
  const { stringify, parse } = JSON;
  const exec = method(RegExp.prototype.exec);
  const [slice, indexOf, includes] = [String.prototype.slice, String.prototype.indexOf, String.prototype.includes].map(method);
  const [findByte, partOf] = [Uint8Array.prototype.indexOf, Uint8Array.prototype.subarray].map(method);
  const bytesOf = bind.call(TextEncoder.prototype.encode, new TextEncoder());
  const charactersOf = bind.call(TextDecoder.prototype.decode, new TextDecoder("utf-8", { ignoreBOM: true }));
  const { alloc, concat, from: bufferOf } = Buffer;
  const inBase64 = method(Buffer.prototype.base64Slice);
  const { wait } = Atomics;
  const clock = new Int32Array(new SharedArrayBuffer(4));
  const { readSync, writeSync } = require("fs");
  const { inspect } = require("util");
  const { Script, runInThisContext, constants } = require("vm");
  const { Session } = require("inspector");
  const [connect, disconnect, send] = [Session.prototype.connect, Session.prototype.disconnect, Session.prototype.post].map(method);
  const { prototype: writable } = require("stream").Writable;
  const write = method(writable.write);
  const getter = (name) => method(Object.getOwnPropertyDescriptor(writable, name).get);
  const [unwritten, corked, destroyed] = ["writableLength", "writableCorked", "destroyed"].map(getter);
  const program = process;
  const { exit, listenerCount, off } = program;
  const [exitWith, listenersOf, forget] = [bind.call(exit, program), method(listenerCount), bind.call(off, program)];
  const [stdout, stderr] = [program.stdout, program.stderr];
  const here = globalThis;
  const loader = constants && constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;

  const MOST = 2 << 20;
  let number = 0;
  let isLast = false;
  // While a value is waited for: ends the waiting by an interruption, and when nothing is left that could end it.
  let abandon = null;
  let despair = null;

  here.require = require("module").createRequire(require("path").join(program.cwd(), "code"));
  here.module = { exports: {} };
  here.exports = here.module.exports;

  const has = (pattern, text) => exec(pattern, text) !== null;

  const say = (message) => {
    let data = bytesOf(message + "\n");
    while (data.length > 0) {
      try {
        data = partOf(data, writeSync(3, data));
      } catch (error) {
        if (error.code !== "EAGAIN") return;
        wait(clock, 0, 0, 2);
      }
    }
  };

  // Half a surrogate pair is no text, and no message could have it.
  const quoted = (text) => stringify(charactersOf(bytesOf(text)));

  const tell = (value, isMain) => {
    let text = typeof value === "string" ? value : inspect(value, { depth: 4 });
    let leftOut = "";
    if (text.length > MOST) {
      text = slice(text, 0, MOST);
      leftOut = '"text/plain"';
    }
    let data = "";
    if (value !== null && typeof value === "object") {
      try {
        const json = stringify(value);
        if (json !== undefined && json.length <= MOST) {
          data = '"application/json": ' + stringify(inBase64(bufferOf(json)));
        }
      } catch {
        // What refers to itself has no JSON.
      }
    }
    say(`{"result": {"text": ${quoted(text)}, "data": {${data}}, "is_main": ${isMain}, "left_out": [${leftOut}]}}`);
  };

  here.display = (...values) => {
    for (let at = 0; at < values.length; at += 1) tell(values[at], false);
  };

  // Without the lines of this driver and of Node itself.
  const stackOf = (error) => {
    const stack = typeof error.stack === "string" ? error.stack : `${textOf(error.name)}: ${textOf(error.message)}`;
    let kept = "";
    for (let from = 0, end; from <= stack.length; from = end + 1) {
      end = indexOf(stack, "\n", from);
      if (end < 0) end = stack.length;
      const line = slice(stack, from, end);
      const isFrame = has(/^\s+at /, line);
      // What follows has called the code.
      if (isFrame && includes(line, "[eval]")) break;
      if (!isFrame || !includes(line, "node:")) kept += (kept === "" ? "" : "\n") + line;
    }
    return kept;
  };

  const described = (error) => {
    try {
      const is = error instanceof ErrorOf || (error !== null && typeof error === "object" && "stack" in error);
      if (is) {
        const interrupted = error.code === "ERR_SCRIPT_EXECUTION_INTERRUPTED";
        const name = interrupted ? "Interrupted" : textOf(error.name);
        return { name, message: textOf(error.message), stack: stackOf(error) };
      }
      const message = typeof error === "string" ? error : inspect(error);
      return { name: "Error", message, stack: "Uncaught " + inspect(error) };
    } catch {
      return { name: "Error", message: "what was thrown cannot be shown", stack: "" };
    }
  };

  const tellError = (error) => {
    const { name, message, stack } = described(error);
    const shown = quoted(slice(message, 0, 65536));
    say(`{"error": {"name": ${quoted(name)}, "message": ${shown}, "traceback": ${quoted(slice(stack, 0, MOST))}}}`);
    return name;
  };

  const syntaxError = (text) => {
    try {
      new Script(text);
      return null;
    } catch (error) {
      return error;
    }
  };

  // Text with `await` at the top, and with names that another piece may have declared before, is evaluated as the debugger's console does.
  const session = new Session();
  let evaluation = null;
  let evaluated = null;
  let handed = null;
  defineProperty(here, Symbol.for("sandshell.evaluation"), { value: () => evaluation() });
  defineProperty(here, Symbol.for("sandshell.hand"), { value: (value) => (handed = value) });

  const post = (name, params) =>
    new PromiseOf((done, failed) => {
      send(session, name, params, (error, answer) => {
        if (evaluation === null) return;
        if (error) failed(error);
        else done(answer);
      });
    });

  const valueOf = async ({ objectId, value, unserializableValue }) => {
    const { result } = await post("Runtime.evaluate", { expression: "globalThis" });
    const functionDeclaration = "function (value) { this[Symbol.for('sandshell.hand')](value); }";
    const argument = objectId ? { objectId } : unserializableValue ? { unserializableValue } : { value };
    await post("Runtime.callFunctionOn", { objectId: result.objectId, functionDeclaration, arguments: [argument] });
    const got = handed;
    handed = null;
    return got;
  };

  const evaluate = async (text) => {
    connect(session);
    const options = { expression: text, replMode: true, awaitPromise: true };
    const { result, exceptionDetails } = await post("Runtime.evaluate", options);
    if (exceptionDetails) throw await valueOf(exceptionDetails.exception ?? { value: exceptionDetails.text });
    return result.type === "undefined" ? undefined : await valueOf(result);
  };

  // Answers a value, or a promise that is `evaluated` for one.
  const execute = (text, isAwaited, isParsed) => {
    const filename = `code-${(number += 1)}.js`;
    const options = { filename, breakOnSigint: true };
    if (loader) options.importModuleDynamically = loader;
    // The console lets a name be declared again. It knows no `import()`.
    if (isAwaited || (isParsed && has(/\b(?:let|const|class)\b/, text) && !has(/\bimport\s*\(/, text))) {
      evaluation = () => evaluate(`${text}\n//# sourceURL=${filename}`);
      evaluated = runInThisContext("globalThis[Symbol.for('sandshell.evaluation')]()", { breakOnSigint: true });
      return evaluated;
    }
    // An object literal is a value, as a person means it who writes nothing else.
    if (has(/^\s*\{/, text) && !has(/;\s*$/, text) && syntaxError(`(${text}\n)`) === null) {
      return runInThisContext(`(${text}\n)`, options);
    }
    return runInThisContext(text, options);
  };

  const follow = async (value, done, failed) => {
    try {
      done({ value: await value });
    } catch (error) {
      failed(error);
    }
  };

  const settled = (value, isAwaited) =>
    new PromiseOf((done, failed) => {
      const end = (name, message) => failed(assign(new ErrorOf(message), { name, stack: `${name}: ${message}` }));
      abandon = () => end("Interrupted", "the code was interrupted");
      // A program of Node ends too when what it waits for can no longer happen.
      despair = () => (isAwaited ? end("UnsettledAwait", "what the code waits for can no longer happen") : done({ value }));
      follow(value, done, failed);
    });

  // What was printed and has not gone yet. A stream that is broken, closed or held back by the code has nothing more to say.
  const flushed = (stream) =>
    new PromiseOf((done) => {
      if (destroyed(stream) || corked(stream) > 0 || unwritten(stream) === 0) done();
      else write(stream, "", () => done());
    });

  const take = async (text) => {
    let code = 0;
    try {
      const isParsed = syntaxError(text) === null;
      // `await (…)` is a call outside of functions, of something that nobody has.
      const isAwaited = isParsed ? has(/\bawait\s*\(/, text) : has(/\bawait\b/, text);
      let value = execute(text, isAwaited, isParsed);
      if (evaluated !== null || (value !== null && typeof value === "object" && typeof value.then === "function")) {
        ({ value } = await settled(value, isAwaited));
      }
      if (value !== undefined) {
        here._ = value;
        tell(value, true);
      }
    } catch (error) {
      const name = tellError(error);
      code = name === "Interrupted" ? 130 : name === "UnsettledAwait" ? 13 : 1;
    }
    abandon = despair = evaluated = evaluation = null;
    // An evaluation that was interrupted may still wait.
    disconnect(session);
    await flushed(stdout);
    await flushed(stderr);
    say('{"done": true}');
    if (!isLast) return;
    forget("SIGINT", interrupt);
    if (code !== 0) exitWith(code);
  };

  const interrupt = () => {
    if (abandon !== null) abandon();
  };
  program.on("SIGINT", interrupt);
  program.on("beforeExit", () => {
    if (despair !== null) despair();
  });
  const uncaught = (event) => {
    program.on(event, async (error) => {
      // What the code itself has to say of it is its own matter.
      if (listenersOf(program, event) > 1) return;
      if (isLast) tellError(error);
      else write(stderr, `${described(error).stack}\n`);
      if (!isLast) return;
      await flushed(stdout);
      await flushed(stderr);
      exitWith(1);
    });
  };
  uncaught("uncaughtException");
  uncaught("unhandledRejection");

  let pending = [];
  // Whether a message is complete. The next one comes only when it is done, so nothing follows its line.
  const arrived = (data) => {
    pending[pending.length] = data;
    if (findByte(data, 10) < 0) return null;
    const message = parse(charactersOf(concat(pending)));
    pending = [];
    isLast = message.last;
    return message.code;
  };

  // The first one is waited for here: a process that has only one needs nothing more.
  for (let code = null; code === null; ) {
    const data = alloc(1 << 16);
    const read = readSync(3, data);
    if (read === 0) return;
    code = arrived(partOf(data, 0, read));
    if (code !== null) take(code);
  }
  if (isLast) return;
  const channel = new (require("net").Socket)({ fd: 3, readable: true, writable: false });
  channel.on("data", (data) => {
    const code = arrived(data);
    if (code !== null) take(code);
  });
  channel.on("end", () => forget("SIGINT", interrupt));
})();
