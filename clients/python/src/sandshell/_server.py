"""A private server, for who names none."""

from __future__ import annotations

import atexit
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

from .errors import Unavailable

# Lives as long as its standard input: that ends with this process, however it ends. It takes its sandboxes along.
_KEEPER = """
exec 3<&0
"$1" serve --listen 127.0.0.1:0 --data-dir "$2" --ephemeral </dev/null 3<&- &
server=$!
(while read -r _ <&3; do :; done; kill "$server") 2>/dev/null >/dev/null &
watcher=$!
trap 'kill "$server"' TERM INT HUP
wait "$server"
wait "$server"
kill "$watcher" 2>/dev/null
rm -rf "$2"
"""

_lock = threading.Lock()
_own: tuple[int, str, subprocess.Popen[bytes]] | None = None


def program() -> str:
    """The `sandshell` program: `SANDSHELL_PROGRAM`, the one that came with this package, or the one on the PATH."""
    named = os.environ.get("SANDSHELL_PROGRAM")
    if named:
        return named
    found = _packaged() or shutil.which("sandshell")
    if found is None:
        raise Unavailable(
            "no server is named and there is no program to start one: name a server (server= or SANDSHELL_SERVER), or put"
            " sandshell on the PATH or its path into SANDSHELL_PROGRAM",
            reason="NO_SERVER",
        )
    return found


def _packaged() -> str | None:
    """The program that a platform wheel has brought, wherever the installer puts programs."""
    try:
        files = importlib.metadata.files("sandshell") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == "sandshell" and file.parent.name == "bin":
            path = str(file.locate())
            return path if os.access(path, os.X_OK) else None
    return None


def private() -> str:
    """The address of this process's private server, which is started by the first who asks."""
    global _own
    with _lock:
        # One that was started before a fork is the parent's.
        if _own is not None and _own[0] == os.getpid() and _own[2].poll() is None:
            return _own[1]
        directory = tempfile.mkdtemp(prefix="sandshell-")
        keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "sandshell-keeper", program(), directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        said = []
        assert keeper.stdout is not None
        for line in keeper.stdout:
            said.append(line.decode("utf-8", "replace"))
            found = re.search(r"listening on (\S+)", said[-1])
            if found:
                # Whatever it says from now on must not fill the pipe.
                threading.Thread(target=_drain, args=(keeper.stdout,), daemon=True).start()
                _own = (os.getpid(), "http://" + found.group(1), keeper)
                return _own[1]
        keeper.wait()
        shutil.rmtree(directory, ignore_errors=True)
        raise Unavailable("the private server did not start:\n" + "".join(said[-20:]), reason="NO_SERVER")


def _drain(stream: object) -> None:
    for _ in stream:  # type: ignore[attr-defined]
        pass


def _closed_at_exit() -> None:
    if _own is not None and _own[0] == os.getpid():
        keeper = _own[2]
        if keeper.stdin is not None:
            keeper.stdin.close()
        try:
            keeper.wait(15)
        except subprocess.TimeoutExpired:
            print("sandshell: the private server takes long to end", file=sys.stderr)


atexit.register(_closed_at_exit)
