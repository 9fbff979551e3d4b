"""The node behind everything that is measured: a program that answers as NodeODM would and keeps nothing.

It is made to cost little, so that two cores are left for what is measured: uploads are counted and thrown away, results
are the same block again and again. With `--addresses 1000` it listens on 127.0.0.1, 127.0.0.2, ... and is a thousand nodes. Tasks
run until `POST /stub/finish/<id>` or `/all`; `POST /stub/hang/<address>` makes one address take connections and answer nothing.

    python -m benchmarks.stub --port 3001 --addresses 1000 --slots 30 --size-mb 256
"""

import argparse
import asyncio
import os
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvloop

MB = 1024 * 1024
BLOCK = memoryview(bytes(MB))
REQUEST = re.compile(rb"(\w+) ([^? ]+)\S* HTTP")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
RANGE = re.compile(rb"\r\nrange: *bytes=(\d+)-(\d*)", re.IGNORECASE)
SET_UUID = re.compile(rb"\r\nset-uuid: *([\w-]+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
EXPECTS = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
OPTIONS = [{"name": "dsm", "type": "bool", "value": "false", "domain": "bool", "help": "a surface model"}]
RUNNING, COMPLETED = 20, 40
LINE = "[INFO]    Matching DJI_0042.JPG and DJI_0043.JPG.  Matcher: FLANN (symmetric)  T-desc: 1.042  Matches: 1337"


@dataclass
class Node:
    """What all connections share."""

    size_bytes: int
    slots_count: int
    lines_count: int = 0
    finished: set[str] = field(default_factory=set)
    committed_at_s: dict[str, float] = field(default_factory=dict)
    hung: set[str] = field(default_factory=set)
    received_bytes: int = 0

    def info(self) -> dict[str, Any]:
        """Answer `/info`. As on a real node, the memory that is left is another each time."""
        return {
            "version": "2.2.4",
            "taskQueueCount": 0,
            "maxImages": None,
            "maxParallelTasks": self.slots_count,
            "engine": "odm",
            "engineVersion": "3.5.6",
            "totalMemory": 16 * 1024 * MB,
            "availableMemory": 12 * 1024 * MB + time.monotonic_ns() % MB,
            "cpuCores": 4,
        }

    def task(self, task: str) -> dict[str, Any]:
        """Answer `/task/<id>/info`."""
        ended = task in self.finished
        return {
            "uuid": task,
            "name": "a task",
            "dateCreated": 1_700_000_000_000,
            "processingTime": 60_000,
            "status": {"code": COMPLETED if ended else RUNNING},
            "options": [{"name": "dsm", "value": True}],
            "imagesCount": 100,
            "progress": 100 if ended else 42,
            "output": [LINE] * self.lines_count,
        }

    def told(self) -> dict[str, Any]:
        """Answer `/stub/told`: when which task was committed, and how much came in."""
        return {"committed_at_s": self.committed_at_s, "received_bytes": self.received_bytes}

    def get(self, path: str) -> Any:
        """Answer a GET."""
        match path.split("/")[1:]:
            case ["info"]:
                return self.info()
            case ["options"]:
                return OPTIONS
            case ["task", "list"] | ["task", _, "output"]:
                return []
            case ["task", task, "info"]:
                return self.task(task)
            case ["stub", "told"]:
                return self.told()
        return {"error": f"Cannot GET {path}"}

    def post(self, path: str, set_uuid: str) -> Any:
        """Answer a POST whose body has come in."""
        match path.split("/")[1:]:
            case ["task", "new", "init"]:
                return {"uuid": set_uuid}
            case ["task", "new", "commit", task]:
                self.committed_at_s[task] = time.time()  # noqa: TID251 compared with the clock of another process
                return {"uuid": task}
            case ["stub", "finish", "all"]:
                self.finished.update(self.committed_at_s)
            case ["stub", "finish", task]:
                self.finished.add(task)
            case ["stub", "hang", address]:
                self.hung.add(address)
        return {"success": True}


class Connection(asyncio.BufferedProtocol):
    """One connection: a head, a body that is counted, an answer; again and again."""

    SPACE = bytearray(MB)
    """Shared: what arrives is looked at and forgotten before the next read."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._head = b""
        self._left_bytes = 0
        self._wanted: bytes | None = None
        self._sending_bytes = 0
        self._paused = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> bytearray:
        """Give room."""
        del sizehint
        return self.SPACE

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what came."""
        if self._left_bytes:
            taken = min(nbytes, self._left_bytes)
            self._count(taken)
            if taken == nbytes:
                return
            self._take_head(bytes(self.SPACE[taken:nbytes]))
        else:
            self._take_head(bytes(self.SPACE[:nbytes]))

    def _count(self, taken_bytes: int) -> None:
        self._left_bytes -= taken_bytes
        self._node.received_bytes += taken_bytes
        if not self._left_bytes and self._wanted:
            head, self._wanted = self._wanted, None
            self._answer(head)

    def _take_head(self, data: bytes) -> None:
        self._head += data
        while not self._left_bytes and b"\r\n\r\n" in self._head:
            head, _, rest = self._head.partition(b"\r\n\r\n")
            length = LENGTH.search(head)
            size = int(length[1]) if length else 0
            if EXPECTS.search(head):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._head = rest[size:]
            self._wanted, self._left_bytes = head, size
            self._count(min(size, len(rest)))

    def _answer(self, head: bytes) -> None:
        match = REQUEST.match(head)
        if match is None or self._transport.get_extra_info("sockname")[0] in self._node.hung:
            return
        path = match[2].decode()
        if "/download/" in path:
            self._send_result(head, only_head=match[1] == b"HEAD")
            return
        set_uuid = SET_UUID.search(head)
        posted = match[1] == b"POST"
        content = self._node.post(path, set_uuid[1].decode() if set_uuid else "") if posted else self._node.get(path)
        body = msgspec.json.encode(content)
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s"
            % (len(body), closing(head), body)
        )
        if CLOSES.search(head):
            self._transport.close()

    def _send_result(self, head: bytes, *, only_head: bool) -> None:
        size, begin, end = self._node.size_bytes, 0, self._node.size_bytes - 1
        wanted = RANGE.search(head)
        status, extra = b"200 OK", b""
        if wanted:
            begin, end = int(wanted[1]), min(int(wanted[2] or end), end)
            status, extra = b"206 Partial Content", b"Content-Range: bytes %d-%d/%d\r\n" % (begin, end, size)
        self._transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: application/zip\r\nAccept-Ranges: bytes\r\nContent-Length: %d\r\n%s%s\r\n"
            % (status, end - begin + 1, extra, closing(head))
        )
        self._sending_bytes = 0 if only_head else end - begin + 1
        self._pump()

    def _pump(self) -> None:
        while self._sending_bytes and not self._paused:
            piece = BLOCK[: min(MB, self._sending_bytes)]
            self._sending_bytes -= len(piece)
            self._transport.write(piece)

    def pause_writing(self) -> None:
        """Wait for the reader."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """Send nothing more."""
        del exc
        self._sending_bytes = 0


def closing(head: bytes) -> bytes:
    """Say whether the connection stays open."""
    return b"Connection: close\r\n" if CLOSES.search(head) else b"Connection: keep-alive\r\n"


def address(number: int) -> str:
    """Name the loopback address of a node, counted from 0."""
    return f"127.0.{number // 250}.{number % 250 + 1}"


async def main(asked: argparse.Namespace) -> None:
    """Listen until standard input ends, so that no stub outlives who started it."""
    node = Node(asked.size_mb * MB, asked.slots, asked.lines)
    loop = asyncio.get_running_loop()
    addresses = [address(number) for number in range(asked.addresses)]
    await loop.create_server(lambda: Connection(node), addresses, asked.port, backlog=512)
    print("ready", flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 1) else ended.set())
    await ended.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--addresses", type=int, default=1)
    parser.add_argument("--slots", type=int, default=100)
    parser.add_argument("--size-mb", type=int, default=256)
    parser.add_argument("--lines", type=int, default=0)
    uvloop.run(main(parser.parse_args()))
