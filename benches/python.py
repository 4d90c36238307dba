"""Does what a line of standard input says, with the Python client, and answers with a line: a list of seconds.

`exec N`: so many commands, one after another, in a session. `write N`: so many files of 1 MiB. `many N`: so many commands in each
of 64 sessions at once, which is one time.
"""

import asyncio
import json
import sys
import time

from sandshell import AsyncClient, AsyncSandbox, Client, Sandbox

SANDBOXES, SESSIONS_IN_EACH = 8, 8


def times(count, work):
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return found


async def many(server, count):
    async def one(session):
        for number in range(count):
            word = f"{session.session_id} {number}"
            assert (await session.exec(f"echo {word}")).stdout == f"{word}\n"

    async with AsyncClient(server) as client:
        sandboxes = [await AsyncSandbox.create(client=client) for _ in range(SANDBOXES)]
        sessions = [await sandbox.session() for sandbox in sandboxes for _ in range(SESSIONS_IN_EACH)]
        begun = time.perf_counter()
        await asyncio.gather(*map(one, sessions))
        took = time.perf_counter() - begun
        for sandbox in sandboxes:
            await sandbox.delete()
        return [took]


def main(server):
    content = b"x" * (1 << 20)
    with Client(server) as client, Sandbox.create(client=client) as sandbox:
        session = sandbox.session()
        for line in sys.stdin:
            what, count = line.split()
            if what == "exec":
                found = times(int(count), lambda: session.exec("true", check=True))
            elif what == "write":
                found = times(int(count), lambda: sandbox.files.write("/tmp/file", content))
            else:
                found = asyncio.run(many(server, int(count)))
            print(json.dumps(found), flush=True)


main(sys.argv[1])
