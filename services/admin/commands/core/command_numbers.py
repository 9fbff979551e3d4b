"""How the numbers in commands are read, whichever way these come. A number must be a number: "1abc" names no node."""

from typing import Final

from clusterodm.libs.common.hosts import LARGEST_PORT

NO_NUMBER: Final = 0
"""Nodes are numbered from 1."""
LONGEST_NUMBER: Final = 9
"""Digits; what is longer is no node, no number of images and no line of a console."""


def whole(text: str) -> int | None:
    """Read a number without sign; None when it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER else None


def node_number(text: str) -> int:
    """Read a node's number."""
    return whole(text) or NO_NUMBER


def port(text: str) -> int | None:
    """Read a TCP port."""
    number = whole(text)
    return number if number and number <= LARGEST_PORT else None


def line_number(text: str) -> int | None:
    """Read the line from which a console is wanted; it may be negative."""
    number = whole(text.removeprefix("-"))
    return -number if number is not None and text.startswith("-") else number
