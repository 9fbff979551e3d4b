"""Fuzz both roles of clusterodm.libs.http1, guided by what their code does: `make fuzz ROLE=server MINUTES=10`. Needs atheris (group `fuzz`).

The first bytes of an input say where the rest is cut into segments. What must hold for any bytes, in any pieces: nothing but events comes out,
the events are the same for every cut, the connection keeps what it may at most, and no request appears that was not sent as one.
An input that breaks this is kept as a file (`crash-…`) by atheris; give it as an argument to see it again. `make test` plays the same
properties with hypothesis (tests/unit/http1).
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["clusterodm.libs.http1"]):
    from clusterodm.libs.http1 import client, server
    from clusterodm.libs.http1.heads import HeadLimits

CUTS_COUNT = 6
LIMITS = server.ServerLimits(
    head_s=10, keep_alive_s=100, head=HeadLimits(size_bytes=2_000, lines_count=20), linger_bytes=1 << 30
)


SEEDS = {
    "server": (
        b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
    ),
    "client": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
    ),
}
"""Where the search begins."""


def segments(data: bytes) -> tuple[bytes, list[bytes]]:
    """Take an input apart: what is sent, and in which pieces."""
    marks, sent = data[:CUTS_COUNT], data[CUTS_COUNT:]
    places = sorted({mark % (len(sent) + 1) for mark in marks})
    return sent, [sent[begin:end] for begin, end in zip([0, *places], [*places, len(sent)], strict=True) if begin < end]


def of_server(pieces: Sequence[bytes]) -> list[object]:
    """Play a server that answers each request when it is complete; what comes of it, up to the end."""
    side, said = server.ServerSide(LIMITS, 0.0), list[object]()
    for piece in pieces:
        events = list(side.received(piece, 1.0))
        while events:
            for event in events:
                tell(said, event)
            last = events[-1]
            events = []
            if isinstance(last, server.BodyEnds):
                events = list(side.answered(1.0, keeps=True))
            elif isinstance(last, server.ProtocolRefusal):
                events = list(side.refused(1.0))
        assert len(side.early) <= len(piece)
    return said[: said.index("over")] if "over" in said else said


def of_client(pieces: Sequence[bytes]) -> list[object]:
    """Play a client with one request; what comes of it."""
    side, said = client.ClientSide(HeadLimits(2_000, 20)), list[object]()
    side.asked()
    for piece in pieces:
        for event in side.received(piece):
            tell(said, event)
    for event in side.ended():
        tell(said, event)
    return said


def tell(said: list[object], event: object) -> None:
    """Write an event down; pieces of a body are put together."""
    match event:
        case server.RequestData(piece) | client.ResponseData(piece):
            if said and isinstance(said[-1], bytes):
                said[-1] += piece
            elif piece:
                said.append(piece)
        case server.RequestBegun(head):
            said.append((head.method, head.target, tuple(head.headers), head.length_bytes))
        case client.Response(head):
            said.append((head.status, tuple(head.headers)))
        case server.HalfClose() | server.Close():
            said.append("over")
        case server.ProtocolRefusal(bad):
            said.append(bad.status)
        case _:
            said.append(type(event).__name__)


def checked(play: Callable[[Sequence[bytes]], list[object]]) -> Callable[[bytes], None]:
    """Make the property of a role."""

    def one(data: bytes) -> None:
        sent, pieces = segments(data)
        whole = play([sent] if sent else [])
        assert play(pieces) == whole
        assert play([bytes([byte]) for byte in sent]) == whole

    return one


def main() -> None:
    """Fuzz the role that is named first; everything else is libFuzzer's."""
    role, *more = sys.argv[1:]
    for folder in (Path(word) for word in more if not word.startswith("-")):
        if folder.is_dir():
            for number, seed in enumerate(SEEDS[role]):
                (folder / f"seed-{number}").write_bytes(bytes(CUTS_COUNT) + seed)
    atheris.Setup([sys.argv[0], *more], checked({"server": of_server, "client": of_client}[role]))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
