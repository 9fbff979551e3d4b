"""Texts as an operator's terminal may show them, and quantities in them.

Names, consoles and error messages come from nodes and clients, so nothing of them may steer the operator's terminal, or show letters in
another order than they are in: control characters are taken out of everything, and those of the second set, like what turns the direction
of writing, are shown as JSON escapes them.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

END: Final = "\r\n"
"""How telnet's lines end; inside a JSON object they end with LF alone, as scripts expect."""
CONTROLS: Final = (*range(0x09), *range(0x0B, 0x20), 0x7F)
"""Control characters but tab and line feed."""
SPANS: Final = (
    *((0x80, 0x9F), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x180E, 0x180E), (0x200B, 0x200F), (0x2028, 0x202E)),
    *((0x2060, 0x206F), (0x2800, 0x2800), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB)),
    (0xE0000, 0xE007F),
)  # fmt: skip
HIDDEN: Final = [code for first, last in SPANS for code in range(first, last + 1)]
"""Control characters of the second set, and what is invisible, or changes how the rest is shown (Unicode's UAX #9); pages and their console have the same."""


def escaped(code: int) -> str:
    """Write a character as JSON escapes it: beyond the first 65,536 in two halves."""
    units = chr(code).encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


SHOWN: Final = dict.fromkeys(CONTROLS, "") | {code: escaped(code) for code in HIDDEN}
"""What each of them becomes."""

PROGRAMS: Final = frozenset({"json", "yaml"})
"""How an answer may be written for them."""
BATCH_COUNT: Final = 32 * 1024
"""Characters of a long answer that are written at a time."""
GIB: Final = 1024**3
UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
STEP: Final = 1000


def printable(text: str) -> str:
    """Take out or show what would steer a terminal, or turn the text around."""
    return text.translate(SHOWN)


def one_line(text: str) -> str:
    """Make a text that somebody else wrote fit in a line."""
    return " ".join(printable(text).split())


def pretty(content: Any) -> str:
    """Write JSON with two spaces of indentation."""
    import json  # tables do without

    return printable(json.dumps(content, indent=2, ensure_ascii=False))


def written(content: Any, output: str, *, one_line_each: bool = False) -> str:
    """Write for programs, as JSON or YAML. `one_line_each`: one of several documents."""
    if output == "yaml":
        import msgspec

        text = msgspec.yaml.encode(content).decode().removesuffix("\n")
        text = (
            text if printable(text) == text else pretty(content)
        )  # which is YAML, too, and escapes what must not be shown as it is
        return f"---\n{text}" if one_line_each else text
    import json

    return printable(json.dumps(content, ensure_ascii=False)) if one_line_each else pretty(content)


def pretty_pieces(brackets: str, items: Iterable[str]) -> Iterator[str]:
    """Write a list or an object as `pretty` does, an item at a time; each is pretty already, in an object with its key."""
    opening = f"{brackets[0]}\n"
    for item in items:
        yield f"{opening}  " + item.replace("\n", "\n  ")
        opening = ",\n"
    yield f"\n{brackets[1]}" if opening[0] == "," else brackets


def batches(pieces: Iterable[str]) -> Iterator[str]:
    """Join small pieces to some of a size that is worth a write."""
    waiting: list[str] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        if count >= BATCH_COUNT:
            yield "".join(waiting)
            waiting, count = [], 0
    yield "".join(waiting)


def duration(ms: int) -> str:
    """Write a time span with the two units that matter."""
    if ms < 0:
        return ""
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def memory(size_bytes: int | None) -> str:
    """Write a size of memory."""
    return "" if size_bytes is None else f"{size_bytes / GIB:.1f} GiB"


def size_text(size_bytes: int) -> str:
    """Write a size with three digits."""
    size, unit = float(size_bytes), 0
    while size >= STEP and unit < len(UNITS) - 1:
        size, unit = size / STEP, unit + 1
    return f"{size:.0f} {UNITS[unit]}" if unit == 0 else f"{size:.1f} {UNITS[unit]}"
