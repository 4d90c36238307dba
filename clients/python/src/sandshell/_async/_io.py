"""What asynchronous and synchronous code do differently."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

Queue = asyncio.Queue
sleep = asyncio.sleep

# How a call may end that was cancelled here: by close(), or because what it was to send could not be read.
CALL_ENDS: tuple[type[BaseException], ...] = (grpc.RpcError, asyncio.CancelledError)


def open_channel(address: str, credentials: grpc.ChannelCredentials | None, options: list[tuple[str, Any]]) -> grpc.aio.Channel:
    """A connection."""
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


def where() -> Any:
    """What a client belongs to: one event loop."""
    return asyncio.get_running_loop()


async def in_thread(work: Any, *arguments: Any) -> Any:
    """Does what blocks."""
    return await asyncio.to_thread(work, *arguments)


def spawn(work: Any) -> Any:
    """Begins work that goes on beside its caller."""
    return asyncio.create_task(work())


async def get(queue: Any, within: float | None) -> Any:
    """What is next in a queue; TimeoutError when that does not come."""
    try:
        return await asyncio.wait_for(queue.get(), within)
    except asyncio.TimeoutError:
        raise TimeoutError from None


async def put(queue: Any, item: Any, wanted: Any) -> bool:
    """Waits for room in a queue, as long as somebody wants what is in it."""
    while wanted():
        try:
            await asyncio.wait_for(queue.put(item), 0.5)
            return True
        except asyncio.TimeoutError:
            continue
    return False
