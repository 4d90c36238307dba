"""Makes `docs/python-reference.md` of the docstrings. Needs what `setup.py generate` makes."""

from __future__ import annotations

import ast
import inspect
import pathlib
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
TARGET = HERE.parent.parent / "docs/python-reference.md"

HEAD = """# The Python client: reference

Made by `clients/python/make_reference.py` of the docstrings. [python.md](python.md) is the guide.

This is the synchronous client. Each class has an asynchronous twin with the same methods (`AsyncSandbox`, `AsyncSession`, …):
`await` what returns one thing; `async for` goes over what returns many (`list`, `find`, `search`) without. Times are seconds
or `timedelta`.
"""


def text() -> str:
    """The whole page."""
    sys.path.insert(0, str(HERE / "src"))
    import sandshell
    from sandshell import errors, results
    from sandshell._sync.running import Runs

    parts = [HEAD]
    for cls in (sandshell.Sandbox, sandshell.Session):
        parts += class_of(cls, hidden=Runs)
    parts.append("## Running commands\n\nIn a session, or without one in a sandbox.\n")
    parts += method("session.exec, sandbox.run", Runs._execute)
    parts += method("session.start, sandbox.start", Runs.start)
    for name in ("Command", "Files", "Watch", "Code", "Listing", "Samples", "Images", "Verification", "Volume", "Client"):
        parts += class_of(getattr(sandshell, name))
    parts.append("## Results\n")
    for module in ("commands", "files", "sandboxes", "verification"):
        parts += data_classes((pathlib.Path(results.__file__).parent / f"{module}.py").read_text())
    parts.append("## Errors\n")
    for error in vars(errors).values():
        if inspect.isclass(error) and issubclass(error, errors.SandshellError):
            parts.append(f"- **`{error.__name__}`** {inspect.getdoc(error) or ''}".replace("\n", "\n  ") + "\n")
    return "\n".join(parts)


def class_of(cls: Any, hidden: Any = None) -> Iterator[str]:
    """A class with its public methods."""
    yield f"## {cls.__name__}\n\n{inspect.getdoc(cls)}\n"
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    attributes = [*fields(node)] if isinstance(node, ast.ClassDef) else []
    if attributes:
        yield "\n".join(attributes) + "\n"
    if "__init__" in vars(cls) and cls.__name__ in ("Client", "Samples", "Images"):
        yield from method(cls.__name__, cls.__init__)
    for owner in reversed(cls.__mro__):
        for name, member in vars(owner).items():
            if owner not in (object, hidden) and not name.startswith("_") and not is_of(hidden, member):
                if inspect.isroutine(member):
                    yield from method(f"{cls.__name__}.{name}", getattr(member, "__func__", member))


def is_of(hidden: Any, member: Any) -> bool:
    """Whether it is the method of that class by another name."""
    return hidden is not None and inspect.unwrap(getattr(member, "__func__", member)) is hidden._execute


def method(name: str, function: Any) -> Iterator[str]:
    """A method: how it is called, and what it says of itself."""
    signature = inspect.signature(function)
    parameters, starred = [], False
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parameters.append("*")
            starred = True
        written = ("**" if parameter.kind is parameter.VAR_KEYWORD else "") + parameter.name
        if parameter.annotation is not parameter.empty:
            written += f": {parameter.annotation}"
        if parameter.default is not parameter.empty:
            written += f" = {parameter.default!r}"
        parameters.append(written)
    result = "" if signature.return_annotation in (signature.empty, "None") else f" -> {signature.return_annotation}"
    short = name.split(", ")[0].split(".")[-1]
    line = f"{short}({', '.join(parameters)}){result}"
    if len(line) > 110:
        line = f"{short}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){result}"
    yield f"### {name}\n\n```python\n{line}\n```\n\n{inspect.cleandoc(function.__doc__ or '')}\n"


def data_classes(source: str) -> Iterator[str]:
    """Classes of results, with what is said of each field."""
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        yield f"### {node.name}\n\n{ast.get_docstring(node)}\n"
        yield "\n".join(fields(node)) + "\n"


def fields(node: ast.ClassDef) -> Iterator[str]:
    """The fields and properties of a class, each as an item of a list."""
    following = [*node.body[1:], None]
    for item, behind in zip(node.body, following, strict=True):
        said = ""
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            if isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
                said = " ".join(str(behind.value.value).split())
            if item.target.id.startswith("_"):
                continue
            yield f"- `{item.target.id}: {ast.unparse(item.annotation)}` {said}".rstrip()
        elif isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and item.returns is not None:
            if any(isinstance(mark, ast.Name) and mark.id == "property" for mark in item.decorator_list):
                said = " ".join((ast.get_docstring(item) or "").split())
                yield f"- `{item.name}: {ast.unparse(item.returns)}` {said}".rstrip()


if __name__ == "__main__":
    TARGET.write_text(text())
