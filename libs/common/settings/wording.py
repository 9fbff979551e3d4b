"""What a program says on a terminal: which word was probably meant, and two columns. Loads nothing that a quick start would wait for."""

from collections.abc import Collection, Iterator
from typing import Final

NEGATION: Final = "no-"
LEFT_WIDTH: Final = 30
"""Where the second column begins."""


def hint(given: str, known: Collection[str], before: str = "") -> str:
    """Name what was probably meant; empty: nothing is near."""
    import difflib  # only mistakes need it

    bare = given.removeprefix(NEGATION)
    near = difflib.get_close_matches(bare, known, n=1)
    return f" (did you mean {before + given.removesuffix(bare) + near[0]!r}?)" if near else ""


def columns(left: str, right: str, width: int, at: int = LEFT_WIDTH) -> Iterator[str]:
    """Write two columns; what is too long for the first has a line of its own."""
    lines = wrapped(right, width - at - 2) or [""]
    begin = f"  {left}"
    if len(begin) > at:
        yield begin
        begin = ""
    yield f"{begin:<{at}}  {lines[0]}".rstrip()
    yield from (f"{'':<{at}}  {line}" for line in lines[1:])


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines at its spaces."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
