"""Which connection a call takes."""

from __future__ import annotations

from .client import AsyncClient

_shared: AsyncClient | None = None


def client_of(client: AsyncClient | None, server: str | None, key: str | None) -> AsyncClient:
    """The client that is given, one for the server that is named, or the one that all others share."""
    global _shared
    if client is not None:
        return client
    if server is not None or key is not None:
        return AsyncClient(server, key=key)
    if _shared is None:
        _shared = AsyncClient()
    return _shared
