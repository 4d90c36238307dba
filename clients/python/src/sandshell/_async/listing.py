"""Sandboxes, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from .. import _arguments
from .._checked import checked
from ..errors import InvalidArgument
from ..results import Info, Page
from ..v1 import sandbox_pb2 as box
from ..v1.sandbox_pb2_grpc import SandboxServiceStub
from .client import AsyncClient


@checked
class AsyncListing:
    """The sandboxes that have some labels. Iterating it asks for one page after the other."""

    def __init__(self, client: AsyncClient, labels: dict[str, str], page_size: int, page_token: str) -> None:
        self._client = client
        self._labels = labels
        self._page_size = page_size
        self._page_token = page_token

    def __repr__(self) -> str:
        about = f" with {self._labels}" if self._labels else ""
        return f"<{type(self).__name__} of the sandboxes{about} on {self._client.address}>"

    async def _ask(self, page_token: str, page_size: int) -> Page:
        request = box.ListSandboxesRequest(labels=self._labels, page_size=page_size, page_token=page_token)
        page = await self._client._call(SandboxServiceStub, "ListSandboxes", request)
        return Page(tuple(map(Info._of, page.sandboxes)), page.total_size, page.next_page_token or None)

    async def pages(self) -> AsyncIterator[Page]:
        """Page by page; the first one also when it is empty."""
        token: str | None = self._page_token
        while token is not None:
            page = await self._ask(token, self._page_size)
            yield page
            token = page.next_token

    async def page(self, number: int = 1) -> Page:
        """One page, counted from 1. A page behind the last one is empty. Those before it are asked for on the way."""
        if number < 1:
            wrong = [("number", "is counted from 1")]
            raise InvalidArgument(f"there is no page {number}", reason="INVALID_ARGUMENT", violations=wrong)
        async for page in self.pages():
            number -= 1
            if number == 0:
                return page
        return Page((), page.total, None)

    async def total(self) -> int:
        """How many there are."""
        return (await self._ask("", 1)).total

    async def __aiter__(self) -> AsyncIterator[Info]:
        async for page in self.pages():
            for info in page.sandboxes:
                yield info


def texts(field: str, values: Mapping[str, str] | None) -> dict[str, str]:
    """Pairs of texts. What is none is told here, all of it at once; what a text may be, the server says."""
    pairs = _arguments.pairs(field, values)
    violations = []
    if not all(isinstance(text, str) for pair in pairs.items() for text in pair):
        for name, value in pairs.items():
            for what, text in (("name", name), ("value", value)):
                if not isinstance(text, str):
                    violations.append((f"{field}[{name!r}]", f"the {what} {text!r} is no text"))
                elif not text and (field == "labels" or what == "name"):
                    violations.append((f"{field}[{name!r}]", f"the {what} is empty"))
    if violations:
        told = "; ".join(f"{path}: {what}" for path, what in violations)
        raise InvalidArgument(told, reason="INVALID_ARGUMENT", violations=violations)
    return pairs
