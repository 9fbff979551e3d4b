"""What goes to a node and what comes back, as bytes: forms that are built by hand, and the words of answers. Pure.

Forms are built by hand so that a file can go out by sendfile.
A file name goes out as UTF-8 between quotes, with a backslash before quotes and backslashes: what busboy 0.2, the parser of NodeODM
2.2.4, takes back to the byte. Today's (1.6, in multer 2) reads such bytes as Latin-1, and `%22` as a quote; it prefers
`filename*`, and the old one the name that comes last. So a name that they would read differently goes out in both forms, in this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import msgspec

from clusterodm.libs.common.errors import NodeFailed

OK: Final = 200
UNAUTHORIZED: Final = 401
SERVER_ERROR: Final = 500
MAY_PASS: Final = frozenset((408, 425, 429))
UNHEARD: Final = frozenset((502, 504))
"""A gateway answers for a node that it did not hear out: the node may have carried the request out."""

WRONG_TOKEN: Final = "the node refused the token"  # noqa: S105 words, not a password
NODEODM_WRONG_TOKEN: Final = "Invalid authentication token"  # noqa: S105 words, not a password
"""How NodeODM's own words for it begin; they come with status 200."""


@dataclass(frozen=True)
class Multipart:
    """A body: what comes before a file, and what after; a form without a file is all `head`."""

    boundary: str
    head: bytes
    tail: bytes = b""

    @property
    def content_type(self) -> str:
        """The header that goes with it."""
        return f"multipart/form-data; boundary={self.boundary}"


@dataclass(frozen=True)
class Urlencoded:
    """A body of fields as `/task/remove` takes them; a multipart form it does not read."""

    head: bytes
    tail: bytes = b""
    content_type: str = "application/x-www-form-urlencoded"


def form(boundary: str, fields: Sequence[tuple[str, str]]) -> Multipart:
    """Build a form of plain fields."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    ]
    return Multipart(boundary, ("".join(parts) + f"--{boundary}--\r\n").encode())


def one_file(boundary: str, name: str) -> Multipart:
    """Build the frame of a form with one file in the field `images`."""
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="images"; {filename(name)}\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return Multipart(boundary, head.encode(), f"\r\n--{boundary}--\r\n".encode())


def filename(name: str) -> str:
    """Write the parameters that name a file."""
    plain = f'filename="{quoted(name)}"'
    return plain if name.isascii() and "%" not in name else f"filename*=utf-8''{quote(name, safe='')}; {plain}"


def quoted(name: str) -> str:
    """Escape a file name."""
    if "\r" in name or "\n" in name:
        raise NodeFailed("a file name with a line break cannot be sent")
    return name.replace("\\", "\\\\").replace('"', '\\"')


class Status(msgspec.Struct, frozen=True):
    """The `status` object of a task."""

    code: int


class NodeResponse(msgspec.Struct):
    """What a node may answer to any of our calls."""

    error: str | None = None
    uuid: str | None = None
    success: bool | None = None
    images_count: int = msgspec.field(default=0, name="imagesCount")
    processing_time: int = msgspec.field(default=-1, name="processingTime")
    status: Status | None = None


def passes(status: int) -> bool:
    """Whether an answer is an error that may pass, so that the same request may work in a while."""
    return status in MAY_PASS or (status >= SERVER_ERROR and status not in UNHEARD)
