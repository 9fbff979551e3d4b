"""How an engine sends what a container has written. Pure."""

from typing import Final

STREAMS: Final = (b"\0", b"\1", b"\2")
HEAD_BYTES: Final = 8


def log_lines(content: bytes) -> list[str]:
    """Read the lines of a container's log that have ended.

    Without a terminal each piece has eight bytes in front: which way out it came, three zeros, and its length (docs.docker.com, "Attach to a
    container", stream format); with one there are none.
    """
    pieces, place = [], 0
    while content[place : place + 1] in STREAMS and content[place + 1 : place + 4] == b"\0\0\0":
        end = place + HEAD_BYTES + int.from_bytes(content[place + 4 : place + HEAD_BYTES], "big")
        pieces.append(content[place + HEAD_BYTES : end])
        place = end
    pieces.append(content[place:] if not pieces else b"")
    return b"".join(pieces).decode(errors="replace").split("\n")[:-1]
