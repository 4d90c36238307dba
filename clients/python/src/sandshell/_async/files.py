"""Files of a sandbox."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc

from .. import _arguments
from .._checked import checked
from ..errors import FailedPrecondition, NotFound, ResourceExhausted
from ..results import File, FileChange, Match
from ..v1 import file_pb2 as pb
from ..v1.file_pb2_grpc import FileServiceStub
from .client import AsyncClient
from .trees import AsyncTrees
from .watch import AsyncWatch

# Bytes of a file in one message: for each the thread that sends has to be woken, which costs more than the bytes do.
_PIECE = 512 << 10

# As many as the server finds in one call.
_MOST_FILES = 1_000_000
_MOST_MATCHES = 100_000


def _types(names: str | Iterable[str]) -> list[Any]:
    known = {name.removeprefix("TYPE_").lower(): number for name, number in pb.File.Type.items() if number}
    wanted = _arguments.patterns("types", names)
    for name in wanted:
        if name not in known:
            raise ValueError(f"types: {name!r} is none of {', '.join(known)}")
    return [known[name] for name in wanted]


@checked
class AsyncFiles(AsyncTrees):
    """Files of a sandbox. A path that is not absolute begins at the sandbox's working directory; `user` is as whom it is done."""

    def __init__(self, client: AsyncClient, sandbox_id: str) -> None:
        self._client = client
        self._id = sandbox_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._id} on {self._client.address}>"

    async def _ask(self, method: str, request: Any, **more: Any) -> Any:
        return await self._client._call(FileServiceStub, method, request, **more)

    async def read(self, path: str, *, offset: int = 0, length: int = 0, user: str | None = None) -> bytes:
        """What is in a file; `length` bytes from `offset` on, if that is asked for. `offset=-10` is ten bytes before the end."""
        request = pb.ReadRequest(sandbox_id=self._id, path=path, offset=offset, length=length, user=user)
        return b"".join([message.data for message in await self._client._collect(FileServiceStub, "Read", request)])

    async def read_text(self, path: str, *, encoding: str = "utf-8", user: str | None = None) -> str:
        """What is in a file, as text."""
        return (await self.read(path, user=user)).decode(encoding)

    async def write(
        self,
        path: str,
        data: str | bytes,
        *,
        mode: int | None = None,
        parents: bool = True,
        exclusive: bool = False,
        append: bool = False,
        if_etag: str | None = None,
        user: str | None = None,
    ) -> File:
        """Writes a file, whole or not at all: a reader sees the old one or the new one. Directories above it are made."""
        content = _arguments.content("data", data)
        opened = pb.WriteOpen(
            sandbox_id=self._id, path=path, parents=parents, exclusive=exclusive, append=append, if_etag=if_etag, user=user
        )
        if mode is not None:
            opened.mode = mode

        async def requests() -> Any:
            yield pb.WriteRequest(open=opened)
            for start in range(0, len(content), _PIECE):
                yield pb.WriteRequest(data=content[start : start + _PIECE])

        # A second time it would find its own first one.
        once = append or exclusive or bool(if_etag)
        return File._of(await self._client._send(FileServiceStub, "Write", requests, once=once))

    async def stat(self, path: str, *, follow: bool = True, user: str | None = None) -> File:
        """What is known of a file."""
        return File._of(await self._ask("Stat", pb.StatRequest(sandbox_id=self._id, path=path, no_follow=not follow, user=user)))

    async def exists(self, path: str, *, user: str | None = None) -> bool:
        """Whether there is such a file. Below what is no directory there is none."""
        try:
            await self.stat(path, user=user)
            return True
        except (NotFound, FailedPrecondition) as error:
            if error.reason not in ("FILE_NOT_FOUND", "NOT_A_DIRECTORY"):
                raise
            return False

    async def list(self, path: str, *, recursive: bool = False, user: str | None = None) -> AsyncIterator[File]:
        """What is in a directory, page by page as it is asked for."""
        request = pb.ListRequest(sandbox_id=self._id, path=path, recursive=recursive, user=user)
        while True:
            page = await self._ask("List", request)
            for file in page.files:
                yield File._of(file)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def remove(self, path: str, *, recursive: bool = False, missing_ok: bool = False, user: str | None = None) -> None:
        """Removes a file, or a directory with all that is in it."""
        request = pb.RemoveRequest(sandbox_id=self._id, path=path, recursive=recursive, missing_ok=missing_ok, user=user)
        await self._ask("Remove", request, once=not missing_ok)

    async def move(
        self, path: str, new_path: str, *, overwrite: bool = False, parents: bool = False, user: str | None = None
    ) -> File:
        """Gives a file another name or place."""
        request = pb.MoveRequest(
            sandbox_id=self._id, path=path, new_path=new_path, overwrite=overwrite, parents=parents, user=user
        )
        return File._of(await self._ask("Move", request, once=True))

    async def copy(
        self,
        path: str,
        new_path: str,
        *,
        recursive: bool = False,
        overwrite: bool = False,
        parents: bool = False,
        user: str | None = None,
    ) -> File:
        """Copies a file, or a directory with all that is in it."""
        request = pb.CopyRequest(
            sandbox_id=self._id,
            path=path,
            new_path=new_path,
            recursive=recursive,
            overwrite=overwrite,
            parents=parents,
            user=user,
        )
        return File._of(await self._ask("Copy", request, once=True))

    async def make_directory(self, path: str, *, mode: int | None = None, parents: bool = True, user: str | None = None) -> File:
        """Makes a directory."""
        request = pb.MakeDirectoryRequest(sandbox_id=self._id, path=path, parents=parents, user=user)
        if mode is not None:
            request.mode = mode
        return File._of(await self._ask("MakeDirectory", request))

    async def set_attributes(
        self,
        path: str,
        *,
        mode: int | None = None,
        owner: str = "",
        group: str = "",
        modified: datetime.datetime | None = None,
        recursive: bool = False,
        user: str | None = None,
    ) -> File:
        """Changes mode, owner, group or time of a file, and with `recursive` of all that is in a directory."""
        request = pb.SetAttributesRequest(
            sandbox_id=self._id, path=path, owner=owner, group=group, recursive=recursive, user=user
        )
        if mode is not None:
            request.mode = mode
        if modified is not None:
            request.modify_time.FromDatetime(modified)
        return File._of(await self._ask("SetAttributes", request))

    async def replace(
        self, path: str, old: str, new: str, *, all: bool = False, if_etag: str | None = None, user: str = ""
    ) -> str:
        """Replaces a text in a file, which must be there exactly once unless `all`, and returns a unified diff."""
        request = pb.ReplaceRequest(sandbox_id=self._id, path=path, old=old, new=new, all=all, if_etag=if_etag, user=user)
        return str((await self._ask("Replace", request, once=True)).diff)

    async def find(
        self,
        path: str,
        globs: str | Iterable[str] = (),
        *,
        types: str | Iterable[str] = (),
        max_depth: int = 0,
        ignored: bool = True,
        max_results: int | None = None,
        user: str | None = None,
    ) -> AsyncIterator[File]:
        """Files below a directory whose names fit one of the patterns, such as `"*.py"`; `ignored=False` leaves out what
        .gitignore files name.

        `types` are `file`, `directory`, `symlink` and `other`; `max_depth` is 1 for what is in the directory alone. With
        `max_results` there are at most so many; without, all, and more than a million are ResourceExhausted.
        """
        request = pb.FindRequest(
            sandbox_id=self._id,
            path=path,
            globs=_arguments.patterns("globs", globs),
            types=_types(types),
            max_depth=max_depth,
            ignored=ignored,
            max_results=_MOST_FILES if max_results is None else max_results,
            user=user,
        )
        has_more = False
        try:
            async for message in await self._client._open(FileServiceStub, "Find", request):
                if message.HasField("file"):
                    yield File._of(message.file)
                has_more = message.limit_reached
        except grpc.RpcError as error:
            raise self._client._failed(error) from None
        if has_more and max_results is None:
            raise ResourceExhausted(f"there are more than {_MOST_FILES} files; narrow `path` or `globs`, or give `max_results`")

    async def search(
        self,
        path: str,
        pattern: str,
        *,
        literal: bool = False,
        ignore_case: bool = False,
        globs: str | Iterable[str] = (),
        ignored: bool = False,
        context_lines: int = 0,
        max_matches: int | None = None,
        user: str | None = None,
    ) -> AsyncIterator[Match]:
        """Lines of files below a directory that fit a regular expression.

        Each has up to `context_lines` lines before and after it. `ignored=True` searches also what .gitignore files name. With
        `max_matches` there are at most so many; without, all, and more than 100 000 are ResourceExhausted.
        """
        request = pb.SearchRequest(
            sandbox_id=self._id,
            path=path,
            pattern=pattern,
            literal=literal,
            ignore_case=ignore_case,
            globs=_arguments.patterns("globs", globs),
            ignored=ignored,
            context_lines=context_lines,
            max_matches=_MOST_MATCHES if max_matches is None else max_matches,
            user=user,
        )
        has_more = False
        try:
            async for message in await self._client._open(FileServiceStub, "Search", request):
                if message.path:
                    around = tuple(message.before), tuple(message.after)
                    yield Match(message.path, message.line, message.text, message.column, *around)
                has_more = message.limit_reached
        except grpc.RpcError as error:
            raise self._client._failed(error) from None
        if has_more and max_matches is None:
            raise ResourceExhausted(f"there are more than {_MOST_MATCHES} matches; narrow the search, or give `max_matches`")

    async def changes(self) -> AsyncIterator[FileChange]:
        """How the files of the sandbox differ from its image, page by page as it is asked for."""
        request = pb.ChangesRequest(sandbox_id=self._id)
        while True:
            page = await self._ask("Changes", request)
            for change in page.changes:
                yield FileChange(type(change).Kind.Name(change.kind).removeprefix("KIND_").lower(), change.path)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def watch(self, path: str, *, recursive: bool = False, user: str | None = None) -> AsyncWatch:
        """Watches a directory, and with `recursive` those below it: iterate what is returned for each change from now on."""
        request = pb.WatchRequest(sandbox_id=self._id, path=path, recursive=recursive, user=user)
        return await AsyncWatch(await self._client._open(FileServiceStub, "Watch", request))._armed()
