"""Clients as a program of their own, so that they cost what is measured as little as possible; prints one JSON object.

Threads over plain sockets: files leave by sendfile, bodies that come are thrown away inside the kernel (MSG_TRUNC, tcp(7)).

    python -m benchmarks.load upload URL --folder DIR --connections 16 [--parts 100] [--kept] [--speed MB/s]
    python -m benchmarks.load download URL --connections 8 [--ranges] [--part-mb 16] [--seconds 5]
    python -m benchmarks.load ask URL --rate 100 --seconds 5
    python -m benchmarks.load commit URL --count 300 --connections 4
"""

import argparse
import json
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figures import percentile

MB = 1024 * 1024
LIMIT_S = 60.0
BOUNDARY = "----bench7d93b1a4"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Line:
    """One connection to a server, opened when it is needed."""

    def __init__(self, url: str, *, kept: bool) -> None:
        parts = urlsplit(url)
        self._place = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._kept = kept
        self._socket: socket.socket | None = None

    def open(self) -> socket.socket:
        """Connect, or go on with the connection that is there."""
        if self._socket is None:
            self._socket = socket.create_connection(self._place, LIMIT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @contextmanager
    def request(self, method: str, path: str, length: int = 0, more: str = "") -> Iterator[socket.socket]:
        """Send a head; the body is sent inside, and the answer read."""
        kept = "keep-alive" if self._kept else "close"
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nConnection: {kept}\r\n{more}"
        if method == "POST":
            head += f"Content-Length: {length}\r\n"
        line = self.open()
        line.sendall(f"{head}\r\n".encode())
        try:
            yield line
        except BaseException:
            self.close()
            raise
        if not self._kept:
            self.close()


def head_of(line: socket.socket) -> tuple[int, int, bytes]:
    """Read an answer's head: status, length of the body, what of the body has come already."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = line.recv(65536)
        if not piece:
            raise ConnectionError(f"closed in the head: {data[:200]!r}")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    if length is None:
        raise ValueError(f"an answer without a length: {head!r}")
    return int(head.split(b" ", 2)[1]), int(length[1]), rest


def answer_of(line: socket.socket) -> Any:
    """Read a whole answer as JSON. Raises ValueError for anything but 200."""
    status, length, body = head_of(line)
    while len(body) < length:
        piece = line.recv(65536)
        if not piece:
            raise ConnectionError("closed in the body")
        body += piece
    if status != 200:
        raise ValueError(f"{status}: {body[:300]!r}")
    return json.loads(body)


SPACE = bytearray(MB)
"""Never written to: with MSG_TRUNC the kernel drops what it would copy here."""


def thrown_away(line: socket.socket) -> int:
    """Read a body without looking at it; how long it was. Raises when the answer is not whole or no success."""
    status, length, rest = head_of(line)
    if status not in {200, 206}:
        raise ValueError(f"{status}: {rest[:300]!r}")
    left = length - len(rest)
    while left:
        taken = line.recv_into(SPACE, min(left, MB), socket.MSG_TRUNC)
        if not taken:
            raise ConnectionError(f"closed with {left} bytes missing")
        left -= taken
    return length


# --- uploads -------------------------------------------------------------------------------------------------------


def part_head(name: str) -> bytes:
    """Begin one file of a form."""
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()


def upload(line: Line, path: str, files: Sequence[Path], speed_mb: float = 0, prefix: str = "") -> int:
    """Send files in one request; how many bytes of files."""
    sizes = [file.stat().st_size for file in files]
    heads = [part_head(f"{prefix}{file.name}") for file in files]
    end = f"--{BOUNDARY}--\r\n".encode()
    length = sum(sizes) + sum(len(head) + 2 for head in heads) + len(end)
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    with line.request("POST", path, length, kind) as wire:
        for head, file in zip(heads, files, strict=True):
            wire.sendall(head)
            send_file(wire, file, speed_mb)
            wire.sendall(b"\r\n")
        wire.sendall(end)
        answer = answer_of(wire)
    if answer != {"success": True}:
        raise ValueError(f"not taken: {answer}")
    return sum(sizes)


def send_file(wire: socket.socket, file: Path, speed_mb: float) -> None:
    """Send a file's content, not faster than `speed_mb` if that is given."""
    with file.open("rb") as content:
        if not speed_mb:
            wire.sendfile(content)
            return
        began_s, sent = time.monotonic(), 0
        while piece := content.read(MB // 4):
            wire.sendall(piece)
            sent += len(piece)
            time.sleep(max(0.0, sent / MB / speed_mb - (time.monotonic() - began_s)))


def uploads(asked: argparse.Namespace) -> dict[str, float]:
    """Send a folder in requests of so many files, over so many connections at once."""
    files = sorted(asked.folder.iterdir())
    batches = [files[at : at + asked.parts] for at in range(0, len(files), asked.parts)]
    parts = urlsplit(asked.url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path

    def work(mine: Iterable[Sequence[Path]], prefix: str = "") -> int:
        line = Line(asked.url, kept=asked.kept)
        sent = sum(upload(line, path, batch, asked.speed / asked.connections, prefix) for batch in mine)
        line.close()
        return sent

    def until_time_is_up(mine: Sequence[Sequence[Path]]) -> int:
        sent, deadline_s = 0, time.monotonic() + asked.seconds
        for number in count():
            if time.monotonic() > deadline_s:
                break
            sent += work(mine[:1], f"{number}-")  # the same name again would be compared with the file that is there
        return sent

    run = until_time_is_up if asked.seconds else work
    return timed(run, [batches[at :: asked.connections] for at in range(asked.connections)], len(batches))


# --- downloads -----------------------------------------------------------------------------------------------------


def download(line: Line, path: str, part: tuple[int, int] | None = None) -> int:
    """Fetch a file, or a range of it; how many bytes came."""
    with line.request("GET", path, more=f"Range: bytes={part[0]}-{part[1]}\r\n" if part else "") as wire:
        came = thrown_away(wire)
    if part and came != part[1] - part[0] + 1:
        raise ValueError(f"asked for {part}, got {came} bytes")
    return came


def downloads(asked: argparse.Namespace) -> dict[str, float]:
    """Fetch a file once per connection, or once altogether in as many ranges, or again and again for some seconds."""
    path = urlsplit(asked.url).path

    def work(part: tuple[int, int] | None) -> int:
        line = Line(asked.url, kept=False)
        came, deadline_s = download(line, path, part), time.monotonic() + asked.seconds
        while time.monotonic() < deadline_s:
            came += download(line, path, part)
        return came

    if asked.ranges:
        step = -(-asked.size_mb * MB // asked.connections)
        parts = [(at, min(at + step, asked.size_mb * MB) - 1) for at in range(0, asked.size_mb * MB, step)]
        return timed(work, parts, len(parts))
    part = (0, asked.part_mb * MB - 1) if asked.part_mb else None
    return timed(work, [part] * asked.connections, asked.connections)


def timed(work: Callable[[Any], int], shares: Sequence[Any], requests_count: int) -> dict[str, float]:
    """Let each share be worked on by a thread of its own."""
    began_s = time.monotonic()
    with ThreadPoolExecutor(len(shares)) as threads:
        moved = sum(threads.map(work, shares))
    return {"bytes": moved, "seconds": time.monotonic() - began_s, "requests": requests_count}


# --- latency -------------------------------------------------------------------------------------------------------


def ask(asked: argparse.Namespace) -> dict[str, float]:
    """Ask at a steady pace over one kept connection, but never before the last answer is there."""
    line, path = Line(asked.url, kept=True), urlsplit(asked.url).path
    took_ms: list[float] = []
    began_s = time.monotonic()
    while time.monotonic() < began_s + asked.seconds:
        asked_s = time.monotonic()
        with line.request("GET", path) as wire:
            answer_of(wire)
        took_s = time.monotonic() - asked_s
        took_ms.append(took_s * 1000)
        time.sleep(max(0.0, 1 / asked.rate - took_s))
    return {"p50": percentile(took_ms, 50), "p99": percentile(took_ms, 99), "requests": len(took_ms)}


def commits(asked: argparse.Namespace) -> dict[str, float]:
    """Begin tasks of one small file; what is timed is the answer to the commit."""

    def work(count: int) -> list[float]:
        return [commit_ms(asked.url)[1] for _ in range(count)]

    with ThreadPoolExecutor(asked.connections) as threads:
        lists = threads.map(work, [asked.count // asked.connections] * asked.connections)
        took_ms = [took for one in lists for took in one]
    return {"p50": percentile(took_ms, 50), "p99": percentile(took_ms, 99), "max": max(took_ms), "count": len(took_ms)}


def commit_ms(url: str) -> tuple[str, float]:
    """Begin and commit one task, on a new connection for every call, as PyODM does: its id, and how long the commit took."""
    task = begin(url)
    content = part_head("one.jpg") + b"\xff\xd8 an image \xff\xd9" + f"\r\n--{BOUNDARY}--\r\n".encode()
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    with Line(url, kept=False).request("POST", f"/task/new/upload/{task}", len(content), kind) as wire:
        wire.sendall(content)
        answer_of(wire)
    began_s = time.monotonic()
    commit(url, task)
    return task, (time.monotonic() - began_s) * 1000


def commit(url: str, task: str) -> float:
    """Commit a task; when its answer came, in seconds since 1970."""
    with Line(url, kept=False).request("POST", f"/task/new/commit/{task}") as wire:
        answer = answer_of(wire)
    if answer != {"uuid": task}:
        raise ValueError(f"not committed: {answer}")
    return time.time()  # noqa: TID251 compared with the clock of another process


def begin(url: str) -> str:
    """Begin a task; its id. As PyODM does unless told otherwise, it is left to the server."""
    body = b"name=bench"
    kind = "Content-Type: application/x-www-form-urlencoded\r\n"
    with Line(url, kept=False).request("POST", "/task/new/init", len(body), kind) as wire:
        wire.sendall(body)
        answer: dict[str, str] = answer_of(wire)
    return answer["uuid"]


def parser() -> argparse.ArgumentParser:
    """Say what can be asked for."""
    made = argparse.ArgumentParser(allow_abbrev=False)
    made.add_argument("what", choices=sorted(WORK))
    made.add_argument("url")
    made.add_argument("--folder", type=Path)
    made.add_argument("--connections", type=int, default=1)
    made.add_argument("--parts", type=int, default=1)
    made.add_argument("--kept", action="store_true")
    made.add_argument("--ranges", action="store_true")
    made.add_argument("--speed", type=float, default=0)
    made.add_argument("--size-mb", type=int, default=256)
    made.add_argument("--part-mb", type=int, default=0)
    made.add_argument("--rate", type=float, default=100)
    made.add_argument("--seconds", type=float, default=0)
    made.add_argument("--count", type=int, default=300)
    return made


WORK = {"upload": uploads, "download": downloads, "ask": ask, "commit": commits}

if __name__ == "__main__":
    what = parser().parse_args()
    print(json.dumps(WORK[what.what](what)))
