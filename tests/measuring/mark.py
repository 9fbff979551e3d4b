"""Which statements run: compiles services and libs so that each statement of a function says so just before it runs.

`python tests/measuring/mark.py FOLDER` writes the code objects, the list of statements, and a file of zeros for each column of the
table. What stands outside of functions runs at every import, says nothing about tests, and is neither marked nor counted.
"""

import ast
import json
import marshal
import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).parents[2]
COLUMNS = ("unit", "other")
"""What tests/unit runs, and what all other tests run."""
MEASURED = ("services", "libs")


class Marking(ast.NodeTransformer):
    """Puts `__ran__[number] = 1` before each statement of each function."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.lines: list[int] = []
        """Where the statements stand that have been numbered from `first`."""
        self._in_function = False

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Go through a node and mark the statements in it."""
        outside = not self._in_function
        self._in_function |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if self._in_function:
            for name in ("body", "orelse", "finalbody"):
                if isinstance(block := getattr(node, name, None), list):
                    setattr(node, name, [each for statement in block for each in self._marked(statement)])
        super().generic_visit(node)
        self._in_function = not outside
        return node

    def _marked(self, statement: ast.stmt) -> list[ast.stmt]:
        if does_nothing(statement):
            return [statement]
        mark = ast.parse(f"__ran__[{self.first + len(self.lines)}] = 1").body[0]
        for each in ast.walk(mark):
            ast.copy_location(each, statement)
        self.lines.append(statement.lineno)
        return [mark, statement]


def does_nothing(statement: ast.stmt) -> bool:
    """Whether no code comes of it: a docstring, `...`, a declaration."""
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Global | ast.Nonlocal)


def marked(source: str, path: str, first: int) -> tuple[CodeType, list[int]]:
    """Compile a module; on which lines its statements stand, which are numbered from `first`."""
    marking = Marking(first)
    tree = ast.fix_missing_locations(marking.visit(ast.parse(source)))
    return compile(tree, path, "exec", dont_inherit=True), marking.lines


def write(folder: Path, files: Iterable[Path]) -> None:
    """Write everything for one run of the tests."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.code"):
        old.unlink()
    statements: dict[str, list[int]] = {}
    count = 0
    for file in files:
        path = file.relative_to(ROOT).as_posix()
        code, statements[path] = marked(file.read_text(), str(file), count)
        (folder / f"{path.replace('/', '.')}.code").write_bytes(marshal.dumps(code))
        count += len(statements[path])
    (folder / "statements.json").write_text(json.dumps(statements))
    for column in COLUMNS:
        (folder / column).write_bytes(bytes(count))


if __name__ == "__main__":
    write(Path(sys.argv[1]).resolve(), sorted(path for top in MEASURED for path in (ROOT / top).rglob("*.py")))
