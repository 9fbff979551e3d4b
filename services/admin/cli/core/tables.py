"""Tables as a terminal shows them: as wide as it is, and in colour where it is one. The widths are arguments."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from clusterodm.services.admin.commands.core.answers import Answer
from clusterodm.services.admin.rendering.answers import listing_of, sentence

Row = Sequence[str]

GAP: Final = "  "
MORE: Final = "…"
NOTHING: Final = "-"
"""What stands in a cell of which nothing is known."""
LEAST: Final = 6
"""No column that is shortened gets narrower."""
SHORTENED: Final = ("REASON", "NAME", "ENGINE", "MACHINE", "NODE", "STATE")
"""Which columns may be shortened, the first first."""
ID_LEAST: Final = 8
CODES: Final = {"red": "31", "green": "32", "yellow": "33"}
COLOURS: Final[Mapping[str, str]] = {
    "online": "green",
    "completed": "green",
    "running": "green",
    "ready": "green",
    "busy": "green",
    "offline": "red",
    "failed": "red",
    "lost": "red",
    "uploading": "yellow",
    "waiting": "yellow",
    "forwarding": "yellow",
    "canceled": "yellow",
    "locked": "yellow",
}
"""By the first word of a state."""


class TableStyle(NamedTuple):
    """How a table may look."""

    width: int | None = None
    """Columns of the terminal; None: as wide as it needs to be."""
    colour: bool = False


PLAIN: Final = TableStyle()


def human(answer: Answer, style: TableStyle = PLAIN) -> str:
    """Write an answer for a person: a list as a table."""
    found = listing_of(answer)
    if found is None:
        return sentence(answer)
    return table(found.head, found.rows, style) if found.rows else found.empty


def table(head: Row, rows: Sequence[Row], style: TableStyle) -> str:
    """Align columns; the last one is not padded."""
    short = ids_shortened(head, rows) if style.width is not None else rows
    widths = fitted(head, short, style.width)
    if style.width is not None and sum(widths) + len(GAP) * (len(widths) - 1) > style.width:
        return blocks(head, short, style)
    lines = [line(head, widths)]
    place = head.index("STATE") if "STATE" in head and style.colour else None
    lines += [coloured(line(row, widths), row, widths, place) for row in short]
    return "\n".join(lines)


def blocks(head: Row, rows: Sequence[Row], style: TableStyle) -> str:
    """Write a block of lines for each row, where a terminal is too narrow for its columns; what says nothing is left out."""
    label = max(map(len, head))
    width = max(LEAST, (style.width or 0) - label - len(GAP))
    return "\n\n".join("\n".join(block(head, row, label, width, colour=style.colour)) for row in rows)


def block(head: Row, row: Row, label: int, width: int, *, colour: bool) -> Iterator[str]:
    """Write one row, each cell behind its name; a long one goes on below."""
    for name, cell in zip(head, row, strict=True):
        if cell == NOTHING:
            continue
        for number, text in enumerate(broken(cell, width)):
            shown = painted(text, cell) if colour and name == "STATE" else text
            yield f"{'' if number else name:<{label}}{GAP}{shown}"


def broken(cell: str, width: int) -> list[str]:
    """Break a text between its words, and a word that is too long where the line ends."""
    lines = [""]
    for word in cell.split():
        for piece in (word[at : at + width] for at in range(0, len(word), width)):
            if lines[-1] and len(lines[-1]) + 1 + len(piece) <= width:
                lines[-1] += f" {piece}"
            else:
                lines.append(piece)
    return lines[1:]


def ids_shortened(head: Row, rows: Sequence[Row]) -> Sequence[Row]:
    """Shorten the ids of tasks to as much as tells them apart."""
    if "TASK" not in head:
        return rows
    place = head.index("TASK")
    length = unambiguous_length([row[place] for row in rows])
    return [[cell[:length] if at == place else cell for at, cell in enumerate(row)] for row in rows]


def unambiguous_length(ids: Sequence[str]) -> int:
    """Count the characters of which no two ids have the same; ids are read again by their beginning."""
    ordered = sorted(set(ids))
    return max([ID_LEAST, *(common(one, other) + 1 for one, other in itertools.pairwise(ordered))])


def common(one: str, other: str) -> int:
    """Count the characters that two texts begin with."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def fitted(head: Row, rows: Sequence[Row], width: int | None) -> list[int]:
    """Say how wide each column is, so that all fit."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    if width is None:
        return widths
    for name in SHORTENED:
        over = sum(widths) + len(GAP) * (len(widths) - 1) - width
        if over > 0 and name in head:
            at = head.index(name)
            widths[at] = max(widths[at] - over, min(widths[at], max(LEAST, len(name))))
    return widths


def line(row: Row, widths: Sequence[int]) -> str:
    """Write one line."""
    return GAP.join(f"{cut(cell, width):<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def cut(cell: str, width: int) -> str:
    """Shorten a cell, and show that it goes on."""
    return cell if len(cell) <= width else cell[: width - 1] + MORE


def coloured(text: str, row: Row, widths: Sequence[int], place: int | None) -> str:
    """Colour the state in a line."""
    if place is None:
        return text
    start = sum(widths[:place]) + len(GAP) * place
    end = start + min(len(row[place]), widths[place])
    return f"{text[:start]}{painted(text[start:end], row[place])}{text[end:]}"


def painted(text: str, state: str) -> str:
    """Colour a text as a state is."""
    words = state.replace(",", " ").split()
    colour = next((COLOURS[word] for word in reversed(words) if word in COLOURS), None)
    return text if colour is None else f"\x1b[{CODES[colour]}m{text}\x1b[0m"
