"""Keeps a Python interpreter for Sandshell: takes pieces of code on descriptor 3, runs them, and answers there.

One JSON object is a line. It takes {"code": TEXT} and answers {"result": …} and {"error": …} as often as there are any,
then {"done": true}. What the code prints goes to the standard streams, as in any program.
"""


def main():
    import ast
    import asyncio
    import base64
    import inspect
    import io
    import json
    import linecache
    import os
    import signal
    import socket
    import sys
    import traceback
    import types

    channel = socket.socket(fileno=3)
    channel.set_inheritable(False)
    # Not the terminal's way: a line is told as soon as it is complete.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")

    most_of_one = 2 << 20
    state = {"running": False, "loop": None, "number": 0, "is_child": False}
    module = types.ModuleType("__main__")
    module.__builtins__ = __builtins__
    sys.modules["__main__"] = module
    sys.path.insert(0, "")
    sys.argv = [""]
    space = module.__dict__

    def interrupted(number, frame):
        # Between two pieces of code there is nothing to interrupt.
        if state["running"]:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)

    def in_child():
        # A fork of the code's own: it goes on to the end of the piece, and is then no interpreter of ours.
        state["is_child"] = True
        channel.close()

    os.register_at_fork(after_in_child=in_child)

    def say(message):
        if state["is_child"]:
            return
        data = json.dumps(message, ensure_ascii=False).encode() + b"\n"
        while data:
            try:
                data = data[channel.send(data):]
            except InterruptedError:
                pass

    def encoded(value, most):
        if isinstance(value, str):
            value = value.encode("utf-8", "backslashreplace")
        elif not isinstance(value, (bytes, bytearray)):
            value = json.dumps(value).encode()
        return base64.b64encode(value).decode() if len(value) <= most else None

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
        data.pop("text/plain", None)
        return data

    def tell(value, is_main=False, text=None):
        if text is None:
            text = repr(value)
        data, left_out, room = {}, [], most_of_one
        for kind, shown in described(value).items():
            try:
                shown = encoded(shown, room)
            except Exception:
                continue
            if shown is None:
                left_out.append(kind)
            else:
                data[kind] = shown
                room -= len(shown) * 3 // 4
        if len(text) > most_of_one:
            text, left_out = text[:most_of_one], left_out + ["text/plain"]
        text = text.encode("utf-8", "backslashreplace").decode()
        say({"result": {"text": text, "data": data, "is_main": is_main, "left_out": left_out}})

    def display(*values):
        """Shows values as results, as notebooks do."""
        for value in values:
            tell(value)

    import builtins

    builtins.display = display

    def tell_figures():
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            picture = io.BytesIO()
            figure.savefig(picture, format="png", bbox_inches="tight")
            picture = encoded(picture.getvalue(), most_of_one)
            data = {} if picture is None else {"image/png": picture}
            left_out = [] if data else ["image/png"]
            say({"result": {"text": repr(figure), "data": data, "is_main": False, "left_out": left_out}})
        pyplot.close("all")

    def tell_error(error):
        own = __file__ if "__file__" in globals() else "<string>"
        shown = traceback.TracebackException.from_exception(error)
        for end in (0, -1):
            while shown.stack and shown.stack[end].filename == own:
                del shown.stack[end]
        text = "".join(shown.format())[-most_of_one:].encode("utf-8", "backslashreplace").decode()
        try:
            message = str(error)[:65536].encode("utf-8", "backslashreplace").decode()
        except Exception:
            message = ""
        say({"error": {"name": type(error).__name__, "message": message, "traceback": text}})

    def evaluate(tree, name, mode):
        code = compile(tree, name, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        value = eval(code, space)
        if code.co_flags & inspect.CO_COROUTINE:
            if state["loop"] is None:
                state["loop"] = asyncio.new_event_loop()
                asyncio.set_event_loop(state["loop"])
            value = state["loop"].run_until_complete(value)
        return value

    def execute(text):
        state["number"] += 1
        name = "<code %d>" % state["number"]
        # So that a traceback shows the line.
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        tree = compile(text, name, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        if tree.body:
            evaluate(tree, name, "exec")
        if last is not None:
            value = evaluate(ast.Expression(last.value), name, "eval")
            if value is not None:
                space["_"] = value
                tell(value, True)
        tell_figures()

    def take(text):
        try:
            state["running"] = True
            try:
                execute(text)
            finally:
                state["running"] = False
        except BaseException as error:
            tell_error(error)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass

    pending = b""
    while True:
        line, found, rest = pending.partition(b"\n")
        if not found:
            got = channel.recv(1 << 16)
            if not got:
                os._exit(0)
            # Appended in one list only when long: most pieces of code come in one read.
            pieces = [pending, got]
            while b"\n" not in got:
                got = channel.recv(1 << 20)
                if not got:
                    os._exit(0)
                pieces.append(got)
            pending = b"".join(pieces)
            continue
        pending = rest
        take(json.loads(line)["code"])
        if state["is_child"]:
            os._exit(0)
        say({"done": True})


main()
