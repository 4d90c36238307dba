"""A directory of this machine as a tar archive, made piece by piece."""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pathspec import GitIgnoreSpec

# As much as one message of an upload has.
PIECE = 512 << 10


def patterns(lines: Iterable[str]) -> GitIgnoreSpec:
    """Patterns in the form of `.gitignore`. A line that is none counts for nothing, as git has it."""
    found: list[Any] = []
    for line in lines:
        try:
            found.extend(GitIgnoreSpec.from_lines([line]).patterns)
        except ValueError:
            continue
    return GitIgnoreSpec(found)


class Packing:
    """A directory that is being packed. Its names are looked up at the beginning, and each file is read in its turn."""

    def __init__(self, directory: str | os.PathLike[str], ignore: Sequence[str] = (), gitignore: bool = False) -> None:
        for pattern in ignore:
            # What is meant by it nobody knows, and what was to stay would be sent.
            if re.search(r"(?<!\\)\[(?!.[^\]]*\])", pattern):
                raise ValueError(f"ignore: {pattern!r} has a [ that nothing closes")
        self._ignore = patterns(ignore)
        self._gitignore = gitignore
        self._entries: list[tuple[str, str, os.stat_result]] = []
        self._linked: dict[tuple[int, int], str] = {}
        self._look(os.fspath(directory))
        files = [status for _, _, status in self._entries if stat.S_ISREG(status.st_mode)]
        self.total_files, self.total_bytes = len(files), sum(status.st_size for status in files)
        self.files = self.bytes = 0

    def _look(self, top: str) -> None:
        # With each directory, the patterns of the `.gitignore` files on the way to it: where each begins, and what it says.
        waiting: list[tuple[str, str, list[tuple[int, GitIgnoreSpec]]]] = [(top, "", [])]
        while waiting:
            path, name, rules = waiting.pop()
            with os.scandir(path) as found:
                inside = sorted(found, key=lambda entry: entry.name)
            if self._gitignore and any(entry.name == ".gitignore" for entry in inside):
                rules = [*rules, (len(name), _rules_of(path))]
            below = []
            for entry in inside:
                is_directory = entry.is_dir(follow_symlinks=False)
                if self._is_left_out(name + entry.name, is_directory, rules):
                    continue
                try:
                    self._entries.append((entry.path, name + entry.name, entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue
                if is_directory:
                    below.append((entry.path, f"{name}{entry.name}/", rules))
            waiting.extend(reversed(below))

    def _is_left_out(self, name: str, is_directory: bool, rules: list[tuple[int, GitIgnoreSpec]]) -> bool:
        end = "/" if is_directory else ""
        said = self._ignore.check_file(name + end).include
        for begin, spec in reversed(rules):
            if said is not None:
                break
            said = spec.check_file(name[begin:] + end).include
        return bool(said)

    def pieces(self) -> Iterator[bytes]:
        """The archive. What has vanished since the beginning is not in it."""
        waiting = bytearray()
        for path, name, status in self._entries:
            for part in self._entry(path, name, status):
                waiting += part
                while len(waiting) >= PIECE:
                    yield bytes(waiting[:PIECE])
                    del waiting[:PIECE]
        yield bytes(waiting) + bytes(2 * tarfile.BLOCKSIZE)

    def _entry(self, path: str, name: str, status: os.stat_result) -> Iterator[bytes]:
        info = tarfile.TarInfo(name)
        info.mode, info.mtime = stat.S_IMODE(status.st_mode), status.st_mtime
        if stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
            yield _header(info)
        elif stat.S_ISLNK(status.st_mode):
            info.type = tarfile.SYMTYPE
            try:
                info.linkname = os.readlink(path)
            except FileNotFoundError:
                return
            yield _header(info)
        elif stat.S_ISREG(status.st_mode):
            yield from self._file(path, info, status)
        # Sockets, FIFOs and devices stay where they are.

    def _file(self, path: str, info: tarfile.TarInfo, status: os.stat_result) -> Iterator[bytes]:
        other = self._linked.get((status.st_dev, status.st_ino)) if status.st_nlink > 1 else None
        if other is not None:
            info.type, info.linkname = tarfile.LNKTYPE, other
            yield _header(info)
            self.files += 1
            return
        try:
            # Whatever has taken its place meanwhile is not waited for.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        with open(descriptor, "rb", buffering=0) as file:
            now = os.fstat(descriptor)
            if not stat.S_ISREG(now.st_mode):
                return
            info.size = now.st_size
            yield _header(info)
            left = info.size
            while left:
                data = file.read(min(left, PIECE))
                if not data:
                    raise OSError(f"{path} became shorter while it was read")
                yield data
                left -= len(data)
                self.bytes += len(data)
        yield bytes(-info.size % tarfile.BLOCKSIZE)
        self.files += 1
        if status.st_nlink > 1:
            self._linked[status.st_dev, status.st_ino] = info.name


def _rules_of(directory: str) -> GitIgnoreSpec:
    try:
        with open(os.path.join(directory, ".gitignore"), encoding="utf-8", errors="surrogateescape") as file:
            return patterns(file.read().splitlines())
    except (FileNotFoundError, IsADirectoryError):
        return patterns([])


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def file_pieces(path: str) -> Iterator[bytes]:
    """What is in one file."""
    with open(path, "rb", buffering=0) as file:
        while data := file.read(PIECE):
            yield data
