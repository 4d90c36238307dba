"""What comes out of a sandbox is a stranger's archive: nothing outside of the target is touched."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from sandshell import ResourceExhausted
from sandshell._packing import Packing
from sandshell._unpacking import unpack

LIMIT = 1 << 30


def archive(*entries: tuple[str, bytes, str]) -> io.BytesIO:
    """Entries: a name, a kind, and what it leads to or has in it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o644
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content
            data = content.encode() if kind == tarfile.REGTYPE else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    packed.seek(0)
    return packed


@pytest.mark.parametrize(
    "entry",
    [
        ("../evil", tarfile.REGTYPE, "x"),
        ("/tmp/../evil", tarfile.REGTYPE, "x"),
        ("a/../../evil", tarfile.REGTYPE, "x"),
        ("link", tarfile.SYMTYPE, "/etc/passwd"),
        ("link", tarfile.SYMTYPE, ".."),
        ("a/link", tarfile.SYMTYPE, "../../evil"),
        ("a/link", tarfile.SYMTYPE, "b/../../evil"),
        ("hard", tarfile.LNKTYPE, "../outside"),
        ("hard", tarfile.LNKTYPE, "inner-link"),
        ("hard", tarfile.LNKTYPE, "none"),
        ("device", tarfile.CHRTYPE, ""),
        ("fifo", tarfile.FIFOTYPE, ""),
        ("way/out", tarfile.REGTYPE, "x"),
        ("way/out/deep", tarfile.DIRTYPE, ""),
    ],
)
def test_what_leads_out_is_left_out(entry: tuple[str, bytes, str], tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "way").symlink_to("../outside")
    done = unpack(archive(("inner-link", tarfile.SYMTYPE, "good"), entry, ("good", tarfile.REGTYPE, "ok")), target, LIMIT)
    assert [name for name, _ in done.left_out] == [entry[0]]
    assert (target / "good").read_text() == "ok" and list(outside.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "target"]
    assert not [path for path in target.rglob(".sandshell-*")]


def test_what_is_there_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.write_text("mine")
    target.mkdir()
    (target / "file").symlink_to("../outside")
    (target / "name").hardlink_to(outside)
    packed = [("file", tarfile.REGTYPE, "new"), ("name", tarfile.REGTYPE, "new"), ("two", tarfile.LNKTYPE, "file")]
    for _ in range(2):
        unpack(archive(*packed), target, LIMIT)
    assert outside.read_text() == "mine" and not (target / "file").is_symlink()
    assert (target / "file").read_text() == (target / "name").read_text() == "new"
    assert (target / "two").stat().st_ino == (target / "file").stat().st_ino
    assert sorted(path.name for path in target.iterdir()) == ["file", "name", "two"]


def test_more_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResourceExhausted):
        unpack(archive(("big", tarfile.REGTYPE, "x" * 5000)), tmp_path, 4999)
    huge = tarfile.TarInfo("x")
    huge.type, huge.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    with pytest.raises(tarfile.ReadError):
        unpack(io.BytesIO(huge.tobuf(tarfile.GNU_FORMAT) + bytes(10240)), tmp_path, LIMIT)


def test_odd_names_and_holes_come_back(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    names = [b"\xff\xfe", "ž".encode(), b"a b\n", b"n" * 200]
    for name in names:
        Path(os.fsdecode(bytes(source) + b"/" + name)).write_text("x")
    with open(source / "hole", "wb") as file:
        file.truncate(64 << 20)
    packed = io.BytesIO(b"".join(Packing(source).pieces()))
    assert unpack(packed, target, LIMIT).left_out == ()
    assert sorted(os.listdir(bytes(target))) == sorted([*names, b"hole"])
    status = (target / "hole").stat()
    assert (status.st_size, status.st_blocks) == (64 << 20, 0)


@pytest.mark.parametrize("name", [".git", ".GIT", ".g\u200cit", ".git\ufeff"])
def test_nothing_that_git_would_run_comes_out(name: str, tmp_path: Path) -> None:
    hidden = [
        (name, tarfile.DIRTYPE, ""),
        (f"{name}/config", tarfile.REGTYPE, "[core] fsmonitor=evil"),
        (f"{name}/hooks/post-checkout", tarfile.REGTYPE, "evil"),
        (f"a/{name}/config", tarfile.REGTYPE, "evil"),
        (f"b/{name}", tarfile.REGTYPE, "gitdir: ../elsewhere"),
        (f"c/{name}", tarfile.SYMTYPE, "../elsewhere"),
    ]
    hard = ("hard", tarfile.LNKTYPE, f"{name}/config")
    packed = [*hidden, hard, (".gitignore", tarfile.REGTYPE, "ok"), ("x.git/y", tarfile.REGTYPE, "ok")]
    (tmp_path / "kept/.git").mkdir(parents=True)
    (tmp_path / "kept/.git/config").write_text("mine")
    done = unpack(archive(*packed), tmp_path / "kept", LIMIT, git=False)
    assert [path for path, _ in done.left_out] == [name, f"a/{name}", f"b/{name}", f"c/{name}", "hard"]
    assert (tmp_path / "kept/.git/config").read_text() == "mine"
    made = sorted(str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*") if path.is_file())
    assert made == [".git/config", ".gitignore", "x.git/y"]
    assert unpack(archive(*packed), tmp_path / "all", LIMIT, git=True).left_out == ()
