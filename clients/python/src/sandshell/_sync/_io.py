"""What asynchronous and synchronous code do differently."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import grpc

Queue = queue.Queue
sleep = time.sleep

# How a call may end that was cancelled here: by close(), or because what it was to send could not be read.
CALL_ENDS: tuple[type[BaseException], ...] = (grpc.RpcError,)


def open_channel(address: str, credentials: grpc.ChannelCredentials | None, options: list[tuple[str, Any]]) -> grpc.Channel:
    """A connection."""
    if credentials is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, credentials, options=options)


def where() -> Any:
    """What a client belongs to: every thread of the process."""
    return None


def in_thread(work: Any, *arguments: Any) -> Any:
    """Does what blocks."""
    return work(*arguments)


def spawn(work: Any) -> Any:
    """Begins work that goes on beside its caller."""
    thread = threading.Thread(target=work, daemon=True, name="sandshell")
    thread.start()
    return thread


def get(queue_: Any, within: float | None) -> Any:
    """What is next in a queue; TimeoutError when that does not come."""
    try:
        return queue_.get(timeout=within)
    except queue.Empty:
        raise TimeoutError from None


def put(queue_: Any, item: Any, wanted: Any) -> bool:
    """Waits for room in a queue, as long as somebody wants what is in it."""
    while wanted():
        try:
            queue_.put(item, timeout=0.5)
            return True
        except queue.Full:
            continue
    return False
