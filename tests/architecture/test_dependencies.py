"""What the code may take from its dependencies: public names, of versions whose behaviour is known."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROOTS = ("services", "libs", "deploy")
PLACES = (*ROOTS, "clusterodm/contract", "clusterodm/providers", "benchmarks", "docs", "tools")
"""Tests look inside where they must: what they find is no promise to anybody."""
OURS = "clusterodm"
INSIDES = ("uvicorn.protocols", "uvicorn.logging", "uvicorn.lifespan", "uvicorn.middleware")
"""Without an underscore, and yet no interface: what uvicorn documents is `Config`, `Server` and the `http=` setting."""
DOCUMENTED = frozenset(("os._exit",))
"""With an underscore, and an interface all the same."""
RELIED_ON = frozenset(("httptools", "msgspec", "nats-py", "python-multipart", "starlette", "uvicorn", "uvloop"))
"""Their behaviour, not only their interface, is relied on: framing, calls of protocols, what is an error."""


def imported(tree: ast.Module) -> Iterator[str]:
    """Name everything that is imported, in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_private(name: str) -> bool:
    """Whether a name belongs to the inside of a dependency; `__future__` and its like are public."""
    package, *parts = name.split(".")
    inside = any(name == each or name.startswith(f"{each}.") for each in INSIDES)
    hidden = any(re.match(r"_(?!_)", part) for part in (package, *parts))
    return package != OURS and name not in DOCUMENTED and (inside or hidden)


def reached(tree: ast.Module) -> Iterator[str]:
    """Name what is taken out of imported modules, as `ssl._name`."""
    modules = {
        alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (name := ast.unparse(node.value)) in modules:
            yield f"{name}.{node.attr}"


def privates(source: str) -> list[str]:
    """List the private names that a module takes from others."""
    tree = ast.parse(source)
    return [name for name in (*imported(tree), *reached(tree)) if is_private(name)]


def test_no_private_name_of_a_dependency_is_imported() -> None:
    modules = [path for place in PLACES for path in (REPOSITORY / place).rglob("*.py")]
    found = {str(path.relative_to(REPOSITORY)): privates(path.read_text(encoding="utf-8")) for path in modules}

    assert {name: taken for name, taken in found.items() if taken} == {}


@pytest.mark.parametrize(
    "line",
    [
        "from uvicorn._types import Scope",
        "import uvicorn._types",
        "from nats.aio.client import _Secret",
        "from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol",
        "from uvicorn.protocols.http import httptools_impl",
        "def late():\n    import _thread",
        "import ssl\nssl._create_unverified_context()",
    ],
)
def test_a_private_name_is_recognised(line: str) -> None:
    assert privates(line)


@pytest.mark.parametrize(
    "line", ["from __future__ import annotations", "from clusterodm.libs._made_up import x", "import uvicorn"]
)
def test_a_public_name_is_left_alone(line: str) -> None:
    assert not privates(line)


def test_what_is_relied_on_has_an_upper_bound() -> None:
    listed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    bounded = {re.split(r"[<>=; \[]", line)[0] for line in listed if "<" in line.partition(";")[0]}

    assert bounded >= RELIED_ON


def test_ours_is_imported_by_one_name() -> None:
    folders = (*ROOTS, "benchmarks", "docs", "tests", "tools")
    short = re.compile(r"^\s*(?:from|import) (?:services|libs|deploy)(?=[. ])", re.MULTILINE)
    modules = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]

    assert [str(path) for path in modules if short.search(path.read_text(encoding="utf-8"))] == []
