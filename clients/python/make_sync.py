"""Makes `sandshell/_sync` of `sandshell/_async`, so that each thing is written once."""

import pathlib
import re

SOURCE = pathlib.Path(__file__).resolve().parent / "src/sandshell"

WORDS = [
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsync([A-Z])", r"\1"),
    (r"\b_async\b", "_sync"),
    (r"\b__a(enter|exit|iter)__\b", r"__\1__"),
    (r"\b__anext__\b", "__next__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\baiter\(", "iter("),
    (r"\banext\(", "next("),
    (r"\bgrpc\.aio\.", "grpc."),
    (r"\basynchronous\b", "synchronous"),
]


def synchronous(text: str) -> str:
    """The synchronous twin of a module."""
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    return text


def write() -> None:
    """Writes all twins."""
    target = SOURCE / "_sync"
    target.mkdir(exist_ok=True)
    for file in sorted((SOURCE / "_async").glob("*.py")):
        # What the two worlds have of their own.
        if file.name != "_io.py":
            (target / file.name).write_text(f"# Made of _async/{file.name}; change that.\n" + synchronous(file.read_text()))
