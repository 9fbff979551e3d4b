"""Multipart bodies for nodes, built by hand so that a file can go out by sendfile. Pure.

A file name goes out as UTF-8 between quotes, with a backslash before quotes and backslashes: what busboy, NodeODM's
parser, takes back to the byte. It would keep `%22` as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
        f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{quoted(name)}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return Multipart(boundary, head.encode(), f"\r\n--{boundary}--\r\n".encode())


def quoted(name: str) -> str:
    """Escape a file name."""
    if "\r" in name or "\n" in name:
        raise NodeFailed("a file name with a line break cannot be sent")
    return name.replace("\\", "\\\\").replace('"', '\\"')
