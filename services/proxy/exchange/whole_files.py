"""Files of a multipart body that lie there in full, each with a head as most clients write it: read in one step each. Pure.

A shortcut of multipart.py, which knows all of what a body may be: where this reads anything, that reads the same.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from clusterodm.services.proxy.exchange.part_heads import USUAL, text_of, without_words

PART_HEADER_LIMIT_BYTES: Final = 16 * 1024
BLANK_LINE: Final = b"\r\n\r\n"
USUAL_LINES: Final = re.compile(rb"\r\n" + USUAL.pattern + BLANK_LINE)
"""All that stands between a delimiter and a file, as most clients write it: read in one step."""
ENDS: Final = frozenset((b"--\r\n", b"--"))
"""What follows the last delimiter of most clients."""


@dataclass(slots=True)
class WholeFile:
    """A part that is a file, all of it."""

    field: str
    filename: str
    data: bytes


def usual_files(data: bytes, start: int, delimiter: bytes, files: list[Any]) -> int:
    """Add the files that lie one behind the other in full, each with a usual head; where what follows begins. `start`: behind a delimiter."""
    while (usual := USUAL_LINES.match(data, start)) is not None:
        begin = usual.end()
        filename = without_words(text_of(usual[2]))
        end = data.find(delimiter, begin - 2) if filename and begin - start <= PART_HEADER_LIMIT_BYTES else -1
        if end < 0:
            break
        files.append(WholeFile(text_of(usual[1]), filename, data[begin:end]))
        start = end + len(delimiter)
    return start


def whole_files(data: bytes, start: int, boundary: bytes) -> list[WholeFile] | None:
    """Read a body that is complete; None: there is something else in it than files with usual heads, and MultipartReader is to read it."""
    delimiter = b"\r\n--" + boundary
    if not data.startswith(delimiter[2:], start):
        return None
    files: list[WholeFile] = []
    end = usual_files(data, start + len(delimiter) - 2, delimiter, files)
    return files if files and data[end:] in ENDS else None
