"""Keeps a Python interpreter for Sandshell: takes pieces of code on descriptor 3, runs them, and answers there.

One JSON object is a line. It takes {"code": TEXT, "last": BOOL} and answers {"result": …} and {"error": …} as often as there are
any, then {"done": true}. What the code prints goes to the standard streams, as in any program. After the last piece, and when the
other end of the descriptor is closed, the process ends as any Python program ends.

The code can change every module and every builtin name. So all that is needed between two pieces is taken at the start and kept
in local names, and the messages are put together by functions that are written in C.
"""


def main():
    import sys

    # The driver's own imports must not find modules that the code has in its directory.
    found_in = sys.path[:]
    sys.path[:] = [place for place in found_in if place]
    import _thread
    import ast
    import binascii
    import builtins
    import io
    import json
    import linecache
    import os
    import signal
    import socket
    import traceback

    from builtins import (  # isort: skip
        BaseException, Exception, KeyboardInterrupt, SystemExit, TypeError, bytearray, bytes, callable, compile, enumerate,
        eval, getattr, isinstance, len, repr, str, tuple, type,
    )

    sys.path[:] = found_in if "" in found_in else ["", *found_in]
    channel = socket.socket(fileno=3)
    channel.set_inheritable(False)
    receive, send, close = channel.recv, channel.send, channel.close
    read_message = json.JSONDecoder().scan_once
    quote = json.encoder.encode_basestring
    to_json, to_base64 = json.dumps, binascii.b2a_base64
    modules, lines_of = sys.modules, linecache.cache
    thread, main_thread, sending = _thread.get_ident, _thread.get_ident(), _thread.allocate_lock()
    # Not the terminal's way: a line is told as soon as it is complete.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")

    most_of_one = 2 << 20
    state = {"running": False, "saying": False, "late": False, "loop": None, "number": 0, "is_child": False}
    module = type(sys)("__main__")
    module.__builtins__ = __builtins__
    modules["__main__"] = module
    sys.argv = [""]
    space = module.__dict__

    def interrupted(number, frame):
        if state["saying"]:
            # Half a message would spoil the next one.
            state["late"] = True
        elif state["running"]:
            # Between two pieces of code there is nothing to interrupt.
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)

    def in_child():
        # A fork of the code's own: it goes on to the end of the piece, and is then no interpreter of ours.
        state["is_child"] = True
        close()

    os.register_at_fork(after_in_child=in_child)

    def say(message):
        if state["is_child"]:
            return
        data = message.encode() + b"\n"
        with sending:
            state["saying"] = thread() == main_thread
            try:
                while data:
                    data = data[send(data):]
            finally:
                state["saying"] = False
        if state["late"] and thread() == main_thread:
            state["late"] = False
            if state["running"]:
                raise KeyboardInterrupt

    def quoted(text):
        return quote(text.encode("utf-8", "backslashreplace").decode())

    def say_result(text, data, is_main, left_out):
        if len(text) > most_of_one:
            text, left_out = text[:most_of_one], left_out + ["text/plain"]
        forms = ", ".join([quoted(kind) + ": " + quote(data[kind]) for kind in data])
        names = ", ".join([quoted(kind) for kind in left_out])
        said = '{"result": {"text": %s, "data": {%s}, "is_main": %s, "left_out": [%s]}}'
        say(said % (quoted(text), forms, "true" if is_main else "false", names))

    def encoded(value, most):
        if isinstance(value, str):
            value = value.encode("utf-8", "backslashreplace")
        elif not isinstance(value, (bytes, bytearray)):
            value = to_json(value).encode()
        return to_base64(value, newline=False).decode() if len(value) <= most else None

    # As notebooks have it, so that libraries need nothing new.
    kinds = [
        ("text/html", "_repr_html_"),
        ("text/markdown", "_repr_markdown_"),
        ("text/latex", "_repr_latex_"),
        ("image/svg+xml", "_repr_svg_"),
        ("image/png", "_repr_png_"),
        ("image/jpeg", "_repr_jpeg_"),
        ("application/json", "_repr_json_"),
    ]

    def described(value):
        data = {}
        if isinstance(value, type):
            return data
        bundle = getattr(value, "_repr_mimebundle_", None)
        if callable(bundle):
            try:
                # As notebooks call it. Some take no such arguments.
                try:
                    found = bundle(include=None, exclude=None)
                except TypeError:
                    found = bundle()
                found = found[0] if isinstance(found, tuple) else found
                data.update(found or {})
            except Exception:
                pass
        for kind, name in kinds:
            method = getattr(value, name, None)
            if kind in data or not callable(method):
                continue
            try:
                shown = method()
            except Exception:
                continue
            if shown is not None:
                data[kind] = shown[0] if isinstance(shown, tuple) else shown
        return data

    def tell(value, is_main=False):
        forms = described(value)
        text = forms.pop("text/plain", None)
        if not isinstance(text, str):
            text = repr(value)
        data, left_out, room = {}, [], most_of_one
        for kind in forms:
            try:
                shown = encoded(forms[kind], room)
            except Exception:
                continue
            if shown is None:
                left_out.append(kind)
            else:
                data[kind] = shown
                room -= len(shown) * 3 // 4
        say_result(text, data, is_main, left_out)

    def display(*values):
        """Shows values as results, as notebooks do."""
        for value in values:
            tell(value)

    builtins.display = display

    def tell_figures():
        pyplot = modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            picture = io.BytesIO()
            figure.savefig(picture, format="png", bbox_inches="tight")
            picture = encoded(picture.getvalue(), most_of_one)
            data = {} if picture is None else {"image/png": picture}
            say_result(repr(figure), data, False, [] if data else ["image/png"])
        pyplot.close("all")

    own = main.__code__.co_filename
    explain = traceback.TracebackException.from_exception

    def name_and_message(error):
        try:
            message = str(error)
        except BaseException:
            message = ""
        return type(error).__name__, message

    def traceback_of(error):
        try:
            shown = explain(error)
            # What is before the code are this driver and what it calls.
            for number, frame in enumerate(shown.stack):
                if frame.filename[:6] == "<code ":
                    del shown.stack[:number]
                    break
            for end in (0, -1):
                while shown.stack and shown.stack[end].filename == own:
                    del shown.stack[end]
            return "".join(shown.format())
        except BaseException:
            # The code has changed what this needs.
            return "%s: %s\n" % name_and_message(error)

    def tell_error(error):
        name, message = name_and_message(error)
        text = traceback_of(error)[-most_of_one:]
        said = '{"error": {"name": %s, "message": %s, "traceback": %s}}'
        say(said % (quoted(name), quoted(message[:65536]), quoted(text)))

    is_syntax = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    may_await = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    Expr, Expression, is_coroutine = ast.Expr, ast.Expression, 0x80

    def evaluate(parts):
        value = None
        for part in parts:
            value = eval(part, space)
        return value

    async def evaluate_and_await(parts):
        value = None
        for part in parts:
            value = eval(part, space)
            if part.co_flags & is_coroutine:
                value = await value
        return value

    def in_loop(parts):
        """Runs a piece with `await` at its top in a loop, which is the same for all pieces."""
        import asyncio

        loop = state["loop"]
        if loop is None or loop.is_closed():
            loop = state["loop"] = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        task = loop.create_task(evaluate_and_await(parts))
        try:
            return loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                # It must not go on in the next piece.
                task.cancel()
                try:
                    loop.run_until_complete(task)
                except BaseException:
                    pass
            raise

    def execute(text):
        state["number"] += 1
        name = "<code %d>" % state["number"]
        # So that a traceback shows the line.
        lines_of[name] = (len(text), None, text.splitlines(True), name)
        tree = compile(text, name, "exec", flags=is_syntax)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], Expr) else None
        parts = [compile(tree, name, "exec", flags=may_await)] if tree.body or last is None else []
        if last is not None:
            parts.append(compile(Expression(last.value), name, "eval", flags=may_await))
        awaits = [part for part in parts if part.co_flags & is_coroutine]
        value = in_loop(parts) if awaits else evaluate(parts)
        if last is not None and value is not None:
            space["_"] = value
            tell(value, True)
        tell_figures()

    def take(text, is_last):
        """Runs a piece. Answers what the process ends with, if it is the last one."""
        end = SystemExit(0)
        try:
            state["running"] = True
            try:
                execute(text)
            finally:
                state["running"] = is_last and not state["is_child"]
        except BaseException as error:
            if isinstance(error, SystemExit) and (is_last or state["is_child"]):
                end = SystemExit(error.code)
            elif state["is_child"]:
                try:
                    sys.stderr.write(traceback_of(error))
                except BaseException:
                    pass
                end = SystemExit(1)
            else:
                state["running"] = False
                tell_error(error)
                end = SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BaseException:
                pass
        return end

    get_handler, set_handler, usual = signal.getsignal, signal.signal, signal.default_int_handler

    def end_in_order():
        """What is left to do before the interpreter itself ends: it joins the threads and calls what is to be called at its exit."""
        try:
            if get_handler(signal.SIGINT) is interrupted:
                set_handler(signal.SIGINT, usual)
            loop = state["loop"]
            if state["is_child"] or loop is None or loop.is_closed():
                return
            import asyncio

            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        except BaseException:
            pass

    pending = []
    while True:
        got = receive(1 << 16 if not pending else 1 << 20)
        if not got:
            end_in_order()
            return SystemExit(0)
        # A message comes when the one before is done, so nothing follows its line.
        pending.append(got)
        if got[-1:] != b"\n":
            continue
        message, _ = read_message(b"".join(pending).decode(), 0)
        pending = []
        is_last = message["last"]
        end = take(message["code"], is_last)
        if not state["is_child"]:
            say('{"done": true}')
        if is_last or state["is_child"]:
            end_in_order()
            return end


raise main()
