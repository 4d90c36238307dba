"""Directories on their way into a sandbox and out of it."""

from __future__ import annotations

import datetime
import errno
import os
import posixpath
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import grpc

from .. import _arguments, _packing, _unpacking
from .._checked import checked
from ..errors import ResourceExhausted
from ..results import Downloaded, File, Progress, Uploaded, _time
from ..v1 import file_pb2 as pb
from ..v1.file_pb2_grpc import FileServiceStub
from . import _io
from .client import AsyncClient

# FIFOs, sockets and devices that a download names.
_MOST_SPECIAL = 1000


@checked
class AsyncTrees:
    """Copies files and directories of this machine into a sandbox, and back."""

    _client: AsyncClient
    _id: str

    async def upload(
        self,
        local: str | os.PathLike[str],
        path: str,
        *,
        ignore: str | Iterable[str] = (),
        gitignore: bool = False,
        progress: Callable[[Progress], object] | None = None,
        user: str | None = None,
    ) -> Uploaded:
        """Copies what is in a directory here into a directory of the sandbox, which is made if it is missing.

        `ignore` is what to leave out, in patterns as a `.gitignore` has them; with `gitignore` also what the `.gitignore` files
        in the directory name. What is there is replaced, and directories are filled. `progress` is called after each piece.
        """
        ignore = _arguments.patterns("ignore", ignore)
        packing = await _io.in_thread(_packing.Packing, local, ignore, gitignore)

        async def requests() -> Any:
            # Links of ours may lead anywhere: in the sandbox they lead to what the sandbox has there.
            yield pb.ImportRequest(
                open=pb.ImportOpen(
                    sandbox_id=self._id,
                    path=path,
                    user=user,
                    outside_links=True,
                    max_bytes=(1 << 63) - 1,
                    max_entries=(1 << 63) - 1,
                )
            )
            pieces = packing.pieces()
            while piece := await _io.in_thread(next, pieces, b""):
                yield pb.ImportRequest(data=piece)
                if progress is not None:
                    progress(Progress(packing.files, packing.bytes, packing.total_files, packing.total_bytes))

        done = await self._client._send(FileServiceStub, "Import", requests, once=True)
        return Uploaded(done.files, done.bytes, done.directories, done.symlinks, _time(done.end_time))

    async def upload_file(
        self, local: str | os.PathLike[str], path: str, *, mode: int | None = None, user: str | None = None
    ) -> File:
        """Copies a file, of any size. It is there whole or not at all, with the mode that it has here if none is given."""
        source = os.fspath(local)
        mode = os.stat(source).st_mode & 0o777 if mode is None else mode

        async def requests() -> Any:
            yield pb.WriteRequest(open=pb.WriteOpen(sandbox_id=self._id, path=path, mode=mode, parents=True, user=user))
            pieces = _packing.file_pieces(source)
            while piece := await _io.in_thread(next, pieces, b""):
                yield pb.WriteRequest(data=piece)

        return File._of(await self._client._send(FileServiceStub, "Write", requests, once=False))

    async def download(
        self,
        path: str,
        local: str | os.PathLike[str],
        *,
        ignore: str | Iterable[str] = (),
        gitignore: bool = False,
        changed_since: datetime.datetime | None = None,
        git: bool = False,
        max_bytes: int = 16 << 30,
        user: str | None = None,
    ) -> Downloaded:
        """Copies what is in a directory of the sandbox into a directory here, which is made if it is missing.

        What comes out is a stranger's: nothing outside of `local` is touched, whatever the sandbox sends. `changed_since` (the
        `finished` of an upload) takes what was made or changed at that time or later. A directory in which something was
        made cannot be told from one that was renamed into its place, so unchanged files of such a directory come too, and replace
        what you have made of them here meanwhile: download into another directory then, or take a diff (`git diff` in the
        sandbox). What was removed in the sandbox is not removed here. More than `max_bytes` is ResourceExhausted.

        Directories and files called `.git`, at any depth, stay there unless `git` is True: git here would run what their
        configuration and hooks say. Commits come out with `git=True`, or as patches (`git format-patch --stdout`). `left_out` of
        the result names each of them, and all else that was not made here: FIFOs, sockets, devices, and links that lead out.
        """
        ignore = _arguments.patterns("ignore", ignore)
        request = pb.ExportRequest(
            sandbox_id=self._id, paths=[path.rstrip("/") + "/."], exclude=ignore, ignored=not gitignore, user=user
        )
        if changed_since is not None:
            request.changed_since.FromDatetime(changed_since)
        with tempfile.TemporaryFile() as archive:
            try:
                async for message in await self._client._open(FileServiceStub, "Export", request):
                    archive.write(message.data)
                    if archive.tell() > max_bytes:
                        told = f"the archive has more than {max_bytes} bytes (max_bytes)"
                        raise ResourceExhausted(told, reason="FILE_TOO_LARGE")
            except grpc.RpcError as error:
                raise self._client._failed(error) from None
            special = await self._special(path, ignore, gitignore, changed_since, git, user)
            archive.seek(0)
            done: Downloaded = await _io.in_thread(_unpacking.unpack, archive, local, max_bytes, git)
            return replace(done, left_out=(*done.left_out, *special))

    async def _special(
        self, path: str, ignore: list[str], gitignore: bool, since: datetime.datetime | None, git: bool, user: str | None
    ) -> list[tuple[str, str]]:
        """What an archive has no place for, with the reason: FIFOs, sockets and devices."""
        request = pb.FindRequest(
            sandbox_id=self._id,
            path=path,
            types=[pb.File.TYPE_OTHER],
            ignored=not gitignore,
            max_results=_MOST_SPECIAL,
            user=user,
        )
        if since is not None:
            request.modified_after.FromDatetime(since)
        messages = await self._client._collect(FileServiceStub, "Find", request)
        if not messages:
            return []
        top = (await self._client._call(FileServiceStub, "Stat", pb.StatRequest(sandbox_id=self._id, path=path, user=user))).path
        rules, found = _packing.patterns(ignore), []
        for message in messages:
            name = posixpath.relpath(message.file.path, top)
            if not rules.match_file(name) and (git or _unpacking.git_in(tuple(name.split("/"))) is None):
                found.append((name, "is a FIFO, a socket or a device"))
        if messages[-1].limit_reached:
            found.append((".", f"has more than {_MOST_SPECIAL} FIFOs, sockets and devices"))
        return found

    async def download_file(self, path: str, local: str | os.PathLike[str], *, user: str | None = None) -> int:
        """Copies a file, of any size, and returns how many bytes it has. It is here whole or not at all."""
        target = os.fspath(local)
        directory = os.path.dirname(target) or "."
        if os.path.isdir(target):
            raise IsADirectoryError(errno.EISDIR, "is a directory; name the file", target)
        if not os.path.isdir(directory):
            raise FileNotFoundError(errno.ENOENT, "there is no such directory", directory)
        request = pb.ReadRequest(sandbox_id=self._id, path=path, user=user)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".sandshell-", delete=False) as draft:
            try:
                mode = 0o600
                async for message in await self._client._open(FileServiceStub, "Read", request):
                    if message.WhichOneof("response") == "file":
                        mode = message.file.mode & 0o777
                    else:
                        draft.write(message.data)
                draft.flush()
                os.fchmod(draft.fileno(), mode)
                size = draft.tell()
                os.replace(draft.name, target)
            except BaseException as error:
                os.unlink(draft.name)
                if isinstance(error, grpc.RpcError):
                    raise self._client._failed(error) from None
                raise
        return size
