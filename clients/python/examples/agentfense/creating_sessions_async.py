"""Creating sessions with the asynchronous client."""

import asyncio

from sandshell import AsyncSandbox


async def main() -> None:
    async with await AsyncSandbox.from_local("./project") as sandbox:
        async with await sandbox.session() as session:
            result = await session.exec("pwd")
            assert result.stdout == "/workspace\n"


asyncio.run(main())
