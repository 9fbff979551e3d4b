"""Multipart bodies for nodes, built by hand so that a file can go out by sendfile. Pure.

A file name goes out as UTF-8 between quotes, with a backslash before quotes and backslashes: what busboy 0.2, the parser of NodeODM
2.2.4, takes back to the byte. Today's (1.6, in multer 2) reads such bytes as Latin-1, and `%22` as a quote; it prefers
`filename*`, and the old one the name that comes last. So a name that they would read differently goes out in both forms, in this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from libs.common.errors import NodeFailed


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
