"""Python reads this at each start of a process while coverage is measured: `make coverage` puts this folder into PYTHONPATH.

The modules of services and libs are taken as `mark.py` has compiled them, and mark in a file that all processes map what has run:
whatever ends a process, and whoever forks it, nothing is lost, and nothing has to be collected.
"""

import builtins
import importlib.machinery
import marshal
import mmap
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

ROOT = f"{Path(__file__).parents[2]}{os.sep}"
"""Only this checkout is measured, not the copies that tests make of it."""
PACKAGE = f"clusterodm{os.sep}"
"""Its folders are links to those of the checkout, by whose names the code is kept."""
MEASURED = ("clusterodm.services", "clusterodm.libs")


class Marked(SourceFileLoader):
    """Loads the code that marks what runs; source, file name and line numbers stay the module's own."""

    def get_code(self, fullname: str) -> CodeType | None:
        """Take what was compiled before, under whatever name the module runs now."""
        compiled = code_file(self.path)
        return marshal.loads(compiled.read_bytes()) if compiled.exists() else super().get_code(fullname)  # noqa: S302 our own


class Finder:
    """Finds modules where Python would, and has ours loaded marked."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of ours; others are left to whoever is asked next."""
        if not name.startswith(MEASURED):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and type(spec.loader) is importlib.machinery.SourceFileLoader and spec.loader.path.startswith(ROOT):
            spec.loader = Marked(spec.loader.name, spec.loader.path)
        return spec


def code_file(source: str) -> Path:
    """Say where the marking code of a module lies."""
    return (
        Path(os.environ["RAN_FOLDER"]) / f"{source.removeprefix(ROOT).removeprefix(PACKAGE).replace(os.sep, '.')}.code"
    )


def mark_in(column: str) -> None:
    """Mark from now on in the file of another column, here and in the processes that are started from here."""
    os.environ["RAN_COLUMN"] = column
    with (Path(os.environ["RAN_FOLDER"]) / column).open("r+b") as opened:
        builtins.__ran__ = mmap.mmap(opened.fileno(), 0)  # type: ignore[attr-defined]


if "RAN_FOLDER" in os.environ:
    mark_in(os.environ.get("RAN_COLUMN", "other"))
    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
