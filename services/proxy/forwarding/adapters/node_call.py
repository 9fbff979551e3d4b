"""One request to a node, in a thread: a blocking socket, clusterodm.libs.http1 for the framing, `os.sendfile` for the file.

Its place is behind `sender`. A call has a connection of its own: on a used one, a failure could not be told from a request
that the node has seen. Four things may be said about a failure, and the difference decides what happens to the attempt:

    NodeUnreachable   no connection came about, none in time, or it was closed before a byte of the body went out
    NodeRefused       an answer came, and it says no (also one that came before the whole file was sent)
    NodeErred         an answer came, and it is an error that may pass
    NodeFailed        anything else; also an answer by which a gateway says that it has not heard the node's

How fast files may leave (`--upload-max-speed`) is one limit for all transfers of this proxy together, whatever thread.
"""

import contextlib
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import quote

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import NodeFailed, NodeUnreachable
from clusterodm.libs.common.http_io.origins import in_words as trouble_in_words
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.nodeodm.client import NodeRefused, not_json, sentence, status_in_words
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.untrusted import LIMIT_BYTES, Malformed, decode_json
from clusterodm.libs.http1.bodies import Pieces
from clusterodm.libs.http1.client import AnswerEnds, Broken, ClientSide, Event, Response, ResponseData
from clusterodm.libs.http1.heads import ResponseHead
from clusterodm.libs.http1.lines import BadMessage, Header, find, request_head
from clusterodm.services.proxy.errors import NodeErred
from clusterodm.services.proxy.forwarding.core.node_messages import (
    NODEODM_WRONG_TOKEN,
    OK,
    SERVER_ERROR,
    UNAUTHORIZED,
    WRONG_TOKEN,
    Multipart,
    NodeResponse,
    Urlencoded,
    passes,
)

CHUNKS_PER_S: Final = 10
SMALLEST_CHUNK_BYTES: Final = 4096
UNLIMITED_CHUNK_BYTES: Final = 1 << 30

TLS_PORT: Final = 443
READ_BYTES: Final = 64 * 1024

LONGEST_RETRY_AFTER_S: Final = 60.0


class Throttle:
    """Gives out the right to send so many bytes, in the order of asking."""

    def __init__(self, bytes_per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._free_at_s = 0.0
        self._lock = threading.Lock()

    @property
    def chunk_bytes(self) -> int:
        """How much to send in one go."""
        if not self._bytes_per_s:
            return UNLIMITED_CHUNK_BYTES
        return max(self._bytes_per_s // CHUNKS_PER_S, SMALLEST_CHUNK_BYTES)

    def reserve(self, count_bytes: int) -> float:
        """Reserve the next free stretch for so many bytes; return how many seconds to wait before it begins."""
        if not self._bytes_per_s:
            return 0.0
        with self._lock:
            now_s = self._clock()
            begins_s = max(now_s, self._free_at_s)
            self._free_at_s = begins_s + count_bytes / self._bytes_per_s
        return begins_s - now_s


@dataclass(frozen=True, kw_only=True)
class CallTimeouts:
    """How long a call may take."""

    connect_timeout_s: float = 5.0
    stall_timeout_s: float = 60.0
    """No byte goes out, or comes back, for so long."""


class NodeCall:
    """One request. `run` in a thread; `abort` from anywhere."""

    def __init__(  # noqa: PLR0913 one request has this many parts
        self,
        node: Node,
        path: str,
        body: Multipart | Urlencoded | None,
        *,
        limits: CallTimeouts,
        throttle: Throttle,
        headers: Mapping[str, str] | None = None,
        file: Path | None = None,
        by: Instant | None = None,
        method: str = "POST",
    ) -> None:
        self._node = node
        self._path = path
        self._method = method
        self._body = body
        self._limits = limits
        self._throttle = throttle
        self._headers = headers or {}
        self._file = file
        self._by = by
        self._aborted = threading.Event()
        self._socket: socket.socket | None = None
        self._begun = False
        """The node may have seen enough of the request to act on it."""

    def run(self) -> NodeResponse:
        """Connect, send, read the answer."""
        self._socket = opened = self._connect()
        try:
            self._require_wanted()
            self._require_in_time()
            self._send(opened)
            return self._read(opened)
        except (OSError, BadMessage) as error:
            self._fail(error)
        finally:
            opened.close()

    def abort(self) -> None:
        """End it at once, whatever it is doing."""
        self._aborted.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _require_wanted(self, pause_s: float = 0.0) -> None:
        """Pause, or end the call as soon as it is aborted."""
        if self._aborted.wait(pause_s):
            raise ConnectionAbortedError

    def _require_in_time(self) -> None:
        """End the call when what it was allowed by is too old, before a byte of it is sent."""
        if self._by is not None and monotonic_s() > self._by:
            raise NodeUnreachable(f"{self._node.name} was reached too late")

    def _connect(self) -> socket.socket:
        host, port = self._node.hostname, self._node.port
        try:
            opened = socket.create_connection((host, port), self._limits.connect_timeout_s)
            try:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if port == TLS_PORT:
                    opened = ssl.create_default_context().wrap_socket(opened, server_hostname=host)
            except BaseException:
                opened.close()
                raise
        except (OSError, UnicodeError) as error:
            raise NodeUnreachable(f"{self._node.name} cannot be reached ({in_words(error)})") from None
        opened.settimeout(self._limits.stall_timeout_s)
        return opened

    def _send(self, opened: socket.socket) -> None:
        """Send the request. A node that answers early and hangs up is heard."""
        try:
            if self._file is None:
                self._send_head(opened, 0)
            else:
                with self._file.open("rb", buffering=0) as file:
                    self._send_head(opened, size_bytes := os.fstat(file.fileno()).st_size)
                    self._send_file(opened, file, size_bytes)
        except (BrokenPipeError, ConnectionResetError):
            with contextlib.suppress(OSError, BadMessage):
                self._read(opened)
            raise

    def _send_head(self, opened: socket.socket, file_bytes: int) -> None:
        token = f"?token={quote(self._node.token, safe='')}" if self._node.token else ""
        body = self._body or Multipart("", b"")
        lines: list[Header] = [(b"Host", self._node.url.partition("://")[2].encode())]
        lines += [(name.encode(), value.encode()) for name, value in self._headers.items()]
        if self._body:
            lines.append((b"Content-Type", body.content_type.encode()))
        length_bytes = len(body.head) + file_bytes + len(body.tail)
        lines += [(b"Content-Length", b"%d" % length_bytes), (b"Connection", b"close")]
        self._begun = not body.head
        opened.sendall(request_head(self._method.encode(), (self._path + token).encode(), lines))
        if body.head:
            self._begun = True
            opened.sendall(body.head)

    def _send_file(self, opened: socket.socket, file: io.FileIO, size_bytes: int) -> None:
        sent_bytes = 0
        while sent_bytes < size_bytes:
            count_bytes = min(self._throttle.chunk_bytes, size_bytes - sent_bytes)
            self._require_wanted(self._throttle.reserve(count_bytes))
            opened.sendfile(file, sent_bytes, count_bytes)
            sent_bytes += count_bytes
        if self._body:
            opened.sendall(self._body.tail)

    def _read(self, opened: socket.socket) -> NodeResponse:
        head, content = whole_answer(opened, self._limits.stall_timeout_s)
        if head.status == UNAUTHORIZED:
            raise NodeRefused(WRONG_TOKEN)
        if passes(head.status):
            raise NodeErred(f"{self._node.name} {status_in_words(head.status)}", retry_after_s(head))
        try:
            answer = decode_json(content, NodeResponse)
        except Malformed as error:
            said = not_json(content, error) if head.status == OK else status_in_words(head.status)
            raise NodeFailed(f"{self._node.name} {said}") from None
        if answer.error and head.status < SERVER_ERROR:
            raise NodeRefused(WRONG_TOKEN if answer.error.startswith(NODEODM_WRONG_TOKEN) else sentence(answer.error))
        if head.status != OK:
            raise NodeFailed(f"{self._node.name} {status_in_words(head.status)}")
        return answer

    def _fail(self, error: Exception) -> NoReturn:
        if isinstance(error, OSError) and error.filename is not None:
            raise error
        if not self._begun:
            raise NodeUnreachable(f"{self._node.name} hung up ({in_words(error)})") from None
        raise NodeFailed(f"{self._node.name} did not answer ({in_words(error)})") from None


class Collected:
    """An answer as it comes, of LIMIT_BYTES at most."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.complete = False
        self._pieces = Pieces()
        self._room_bytes = LIMIT_BYTES

    def take(self, event: Event) -> None:
        """Do what an event says. Raises BadMessage."""
        match event:
            case Response(head):
                self.head = head
            case ResponseData(piece):
                self._pieces.add(piece)
                self._room_bytes -= len(piece)
            case Broken(bad):
                raise bad
            case AnswerEnds():
                self.complete = True
        if self._room_bytes < 0:
            raise BadMessage("answered with too much")

    @property
    def content(self) -> bytes:
        """Its body; taken once."""
        return self._pieces.take()


def whole_answer(opened: socket.socket, limit_s: float) -> tuple[ResponseHead, bytes]:
    """Read one answer, so long in all. Raises OSError, BadMessage."""
    side, collected, until_s = ClientSide(), Collected(), monotonic_s() + limit_s
    side.asked()
    while not collected.complete:
        if (left_s := until_s - monotonic_s()) <= 0:
            raise TimeoutError
        opened.settimeout(left_s)
        data = opened.recv(READ_BYTES)
        for event in side.received(data) if data else side.ended():
            collected.take(event)
    assert collected.head is not None  # noqa: S101 no answer is complete without
    return collected.head, collected.content


def retry_after_s(head: ResponseHead) -> float:
    """Read how long to wait; a date, or nonsense, is none."""
    text = find(head.headers, b"retry-after") or b""
    return min(float(text), LONGEST_RETRY_AFTER_S) if text.isdigit() else 0.0


def in_words(error: Exception) -> str:
    """Say what happened to a connection; nothing of the request is in it."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, BadMessage):
        return error.words
    return trouble_in_words(error)
