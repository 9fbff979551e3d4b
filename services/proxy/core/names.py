"""What an uploaded file is called, and whether it is an image. Pure.

A client's file name is kept to the byte where a file system and NodeODM can: the folders in front are dropped, and a name
that NodeODM uses itself is changed. What cannot be kept is refused instead of being bent into something else: a photo that
arrives under a name that nobody gave it is hard to find again.
"""

import re
from collections.abc import Iterator
from typing import Final

from libs.common.errors import Refused

LONGEST_BYTES: Final = 255
"""NAME_MAX of every file system in use here and on nodes."""
NAMELESS: Final = "_"
RESERVED: Final = "body.json"
"""NodeODM keeps the fields of an upload in a file of this name, beside the images."""
SEED: Final = "seed.zip"
"""The beginning of a sub-model; NodeODM unpacks it into the project."""
ARCHIVE: Final = "zipurl.zip"
"""What a node fetches from a `zipurl`. It unpacks a file of this name among the images, whoever sent it; other archives it deletes."""
UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
"""Control characters (a tab may stay) and halves of UTF-16 pairs, which no UTF-8 name can hold."""
USUAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ -]{0,80}\.(?:jpe?g|tiff?|png|dng)", re.IGNORECASE)
"""Names of photos to which nothing needs to be done."""
NO_IMAGE: Final = re.compile(r".*\.txt|align\.(las|laz|tif)|.*\.zip", re.IGNORECASE | re.DOTALL)
"""Ground control, alignment and archives: NodeODM takes them out of the images before it counts."""


def safe_name(filename: str) -> str:
    """Turn what the client sent into the name of a file in one folder. Raises Refused."""
    if USUAL.fullmatch(filename):
        return filename
    name = re.split(r"[/\\]", filename)[-1] or NAMELESS
    if UNPRINTABLE.search(name):
        raise Refused(f"Invalid file name: {printable(name)} (control characters)")
    if name in {".", ".."}:
        return next_name(name)
    if name.lower() == RESERVED:
        name = "_" + name
    return fitting(name)


def candidates(name: str) -> Iterator[str]:
    """Yield the names under which a file may be kept, best first: `a.jpg`, `a_.jpg`, `a__.jpg` ... Raises Refused."""
    while True:
        yield fitting(name)
        name = next_name(name)


def next_name(name: str) -> str:
    """Make another name by the original's scheme: an underscore before the last dot, or at the end."""
    stem, dot, extension = name.rpartition(".")
    return f"{stem}_.{extension}" if dot else f"{name}_"


def unique_name(name: str, taken: frozenset[str]) -> str:
    """Find the first of its names that is free."""
    return next(candidate for candidate in candidates(name) if candidate not in taken)


def fitting(name: str) -> str:
    """Return the name if a file system can hold it. Raises Refused."""
    if len(name.encode()) > LONGEST_BYTES:
        raise Refused(f"Invalid file name: {name[:40]}... (longer than {LONGEST_BYTES} bytes)")
    return name


def printable(name: str) -> str:
    """Show a strange name without sending its control characters on."""
    return ascii(name[:40])


def is_image(name: str) -> bool:
    """Say whether NodeODM counts a file of this name as an image."""
    return not NO_IMAGE.fullmatch(name)
