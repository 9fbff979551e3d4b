"""What programs and machines write on a terminal, as lines that can be shown to people. Pure."""

import re
from typing import Final

ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def without_escapes(text: str) -> str:
    """Leave out what only steers a terminal: colours, places."""
    return ESCAPES.sub("", text)


def printable_line(line: str) -> str:
    """Make a line of output printable: of one that was written over again and again, as progress is, the last that was written."""
    shown = line.rstrip("\r").rpartition("\r")[2].replace("\t", "    ")
    return "".join(letter for letter in shown if letter.isprintable())
