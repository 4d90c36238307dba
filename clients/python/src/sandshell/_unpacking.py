"""A tar archive that came out of a sandbox, unpacked here: a stranger's, so nothing outside of the target is touched."""

from __future__ import annotations

import errno
import os
import stat
import tarfile
import uuid
from typing import IO, Any

from .errors import ResourceExhausted
from .results import Downloaded

# Longest name, link or other header of an entry: the whole of it is in memory.
_MAX_HEADER = 1 << 20

_PIECE = 256 << 10
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)

_GIT = "is left out, because git here would run what its configuration and hooks say; git=True takes it out"

# Characters that macOS leaves out of names.
_UNSEEN = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


class _Refused(Exception):
    """Why an entry is left out."""


class _Entry(tarfile.TarInfo):
    """An entry whose headers are of a bounded length."""

    def _proc_member(self, archive: Any) -> Any:
        if self.type in _HEADERS and self.size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


def unpack(archive: IO[bytes], directory: str | os.PathLike[str], max_bytes: int, git: bool = True) -> Downloaded:
    """Unpacks an archive into a directory, which is made if it is missing.

    What is there is replaced, but directories are kept and filled. The way to an entry never leads through a symbolic link.
    Unless `git`, nothing is made that is called `.git` or is in a directory of that name.
    """
    os.makedirs(directory, exist_ok=True)
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    unpacking = _Unpacking(top, git)
    try:
        with tarfile.open(
            fileobj=archive, mode="r:", tarinfo=_Entry, encoding="utf-8", errors="surrogateescape"
        ) as entries:
            unpacked = 0
            for entry in entries:
                unpacked += entry.size
                if unpacked > max_bytes:
                    raise ResourceExhausted(f"the files have more than {max_bytes} bytes (max_bytes)", reason="FILE_TOO_LARGE")
                unpacking.take(entries, entry)
                # An archive remembers every entry, for whoever wants to go back.
                entries.members = []  # type: ignore[attr-defined]
        unpacking.finish()
    finally:
        unpacking.close()
    return Downloaded(unpacking.files, unpacking.bytes, tuple(unpacking.left_out))


class _Unpacking:
    def __init__(self, top: int, git: bool) -> None:
        self.files = self.bytes = 0
        self._git = git
        self._git_left_out: set[tuple[str, ...]] = set()
        self.left_out: list[tuple[str, str]] = []
        self._top = top
        # The directory that the last entry was in. The next one mostly is too.
        self._last: tuple[tuple[str, ...], int] | None = None
        self._directories: list[tuple[tuple[str, ...], tarfile.TarInfo]] = []

    def take(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        try:
            parts = _parts(entry.name)
            repository = None if self._git else git_in(parts)
            if repository is not None:
                if repository not in self._git_left_out:
                    self._git_left_out.add(repository)
                    self.left_out.append(("/".join(repository).encode("utf-8", "replace").decode(), _GIT))
            elif parts:
                self._make(archive, entry, parts)
        except _Refused as why:
            self.left_out.append((entry.name.encode("utf-8", "replace").decode(), str(why)))

    def _make(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, parts: tuple[str, ...]) -> None:
        if entry.isdir():
            self._directory(parts)
            self._directories.append((parts, entry))
            return
        above, name = self._directory(parts[:-1]), parts[-1]
        draft = f".sandshell-{uuid.uuid4().hex}"
        try:
            if entry.isreg():
                self._file(archive, entry, above, draft)
            elif entry.issym():
                _check_link(parts, entry.linkname)
                os.symlink(entry.linkname, draft, dir_fd=above)
                os.utime(draft, (entry.mtime, entry.mtime), dir_fd=above, follow_symlinks=False)
            elif entry.islnk():
                self._link(parts, draft, _parts(entry.linkname))
                above = self._directory(parts[:-1])
            else:
                raise _Refused("is neither a file nor a directory nor a link")
            os.replace(draft, name, src_dir_fd=above, dst_dir_fd=above)
        finally:
            # There after a failure, and when the two were names of one file already: then nothing is replaced.
            try:
                os.unlink(draft, dir_fd=self._directory(parts[:-1]))
            except FileNotFoundError:
                pass
        if not entry.issym():
            self.files += 1

    def _file(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, above: int, draft: str) -> None:
        content = archive.extractfile(entry)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=above)
        with open(descriptor, "wb", buffering=0) as file:
            while content is not None and (data := content.read(_PIECE)):
                if data == bytes(len(data)):
                    # A hole, which takes no room here either.
                    file.seek(len(data), os.SEEK_CUR)
                else:
                    _write_all(file, data)
                self.bytes += len(data)
            file.truncate(entry.size)
            os.fchmod(descriptor, entry.mode & 0o777)
            os.utime(descriptor, (entry.mtime, entry.mtime))

    def _link(self, parts: tuple[str, ...], draft: str, to: tuple[str, ...]) -> None:
        if not to:
            raise _Refused("is a link to no file")
        if not self._git and git_in(to) is not None:
            raise _Refused("is a link to a file in a .git, which is left out")
        there = os.dup(self._directory(to[:-1]))
        try:
            here = self._directory(parts[:-1])
            if not stat.S_ISREG(os.stat(to[-1], dir_fd=there, follow_symlinks=False).st_mode):
                raise _Refused("is a link to something that is no file")
            os.link(to[-1], draft, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
        except FileNotFoundError:
            raise _Refused("is a link to a file that did not come along") from None
        finally:
            os.close(there)

    def _directory(self, parts: tuple[str, ...]) -> int:
        """The descriptor of a directory, which is made with those above it. Valid until the next call."""
        if self._last is not None and self._last[0] == parts:
            return self._last[1]
        here = os.dup(self._top)
        for part in parts:
            try:
                try:
                    below = os.open(part, _DIRECTORY, dir_fd=here)
                except FileNotFoundError:
                    os.mkdir(part, dir_fd=here)
                    below = os.open(part, _DIRECTORY, dir_fd=here)
            except OSError as error:
                # Which of the two it is for a symbolic link depends on the kernel.
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    raise _Refused(f"has {part!r} on its way, which is a link or a file here") from None
                raise
            finally:
                os.close(here)
            here = below
        if self._last is not None:
            os.close(self._last[1])
        self._last = (parts, here)
        return here

    def finish(self) -> None:
        """Gives the directories their attributes: while they were filled they had to be open, and their times changed."""
        for parts, entry in reversed(self._directories):
            try:
                descriptor = self._directory(parts)
            except _Refused:
                continue
            os.fchmod(descriptor, entry.mode & 0o777)
            os.utime(descriptor, (entry.mtime, entry.mtime))

    def close(self) -> None:
        if self._last is not None:
            os.close(self._last[1])
        os.close(self._top)


def git_in(parts: tuple[str, ...]) -> tuple[str, ...] | None:
    """The path of the first `.git` on the way, if there is one, as any file system here may read the name."""
    for at, part in enumerate(parts, 1):
        if part.translate(_UNSEEN).casefold() == ".git":
            return parts[:at]
    return None


def _parts(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts:
        raise _Refused("has a name that leads out of the directory")
    return parts


def _check_link(parts: tuple[str, ...], target: str) -> None:
    """Refuses a link that leads out of the directory. `..` may only come first: behind another link it leads anywhere."""
    up = 0
    names = [part for part in target.split("/") if part not in ("", ".")]
    while up < len(names) and names[up] == "..":
        up += 1
    if target.startswith("/") or up >= len(parts) or ".." in names[up:]:
        raise _Refused(f"is a symbolic link that leads out of the directory, to {target!r}")


def _write_all(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
