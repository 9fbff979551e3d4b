"""A connection for one program of a moment that asks and ends: NATS' protocol over a plain socket, without an event loop.

`nats-py` with asyncio takes longer to load than everything else that a command does, its answer included (decision 0136). What is left out is left to it: TLS, keys, several servers,
watches, waiting for a leader. Whatever is not plain raises `NotShort`, before or after a question; then the whole is done again with `bus.connect`. So what must not be asked twice
(not `idempotent`) raises BusFailed where it may have been heard, as it does there, and what is wrong is explained in one place.

Protocol: docs.nats.io/reference/reference-protocols/nats-protocol. One question is one line and its payload; so is its answer.
"""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Final, Generic, NamedTuple, Self, TypeVar

import msgspec

from clusterodm.libs.common.bus.ids import new_id
from clusterodm.libs.common.bus.replies import CAUSE, MESSAGE_ID, reply_in
from clusterodm.libs.common.bus.short_protocol import (
    STATUS,
    Info,
    Message,
    NotShort,
    ReplyLost,
    credentials_in,
    message_of,
    plain_address,
)
from clusterodm.libs.common.bus.urls import inbox_of, named_in
from clusterodm.libs.common.errors import OutcomeUnknown
from clusterodm.libs.common.messages.kinds import BucketName, Event, Request
from clusterodm.libs.common.settings.addresses import ServerUrl
from clusterodm.libs.common.telemetry.lazy_log import log

Payload = TypeVar("Payload")
Reply = TypeVar("Reply")
Value = TypeVar("Value")

CONNECT_S: Final = 1.0
ANSWER_S: Final = 2.0
"""A healthy cluster answers sooner; another one is asked by whom that does not trouble."""
LINE_BYTES: Final = 65_536
"""The longest line: INFO of a large cluster."""
MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""The largest that NATS can be set to let through."""
CHUNK_BYTES: Final = 65_536
END_OF_BATCH: Final = ("204", "404", "503")
"""No more; none at all; no such stream."""
MOST_COUNT: Final = 1024
"""As many as a server sends at once; of more it says so."""


class ShortBus:
    """One connection; of `ports.Bus` it has `request` and `publish`. It waits by itself and never for an event loop."""

    def __init__(self, url: str, name: str, answer_s: float = ANSWER_S) -> None:
        self._url = url
        self._answer_s = answer_s
        self._name = name
        self._inbox = f"{inbox_of(named_in(url)[0])}.{new_id()}"
        self._socket: socket.socket | None = None
        self._read = bytearray()
        self._asked_count = 0

    def __repr__(self) -> str:
        """Show how much was asked."""
        return f"ShortBus({self._asked_count} asked)"

    def __enter__(self) -> Self:
        """Connect. Raises NotShort."""
        where = plain_address(self._url)
        try:
            self._socket = socket.create_connection((where.host, where.port), CONNECT_S)
            self._greet(where)
        except OSError as error:
            self._close()
            raise NotShort(str(error)) from None
        except NotShort:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._close()

    async def request(
        self, request: Request[Payload, Reply], message: Payload, timeout_s: float | None = None
    ) -> Reply:
        """Ask the owner. Raises what its handler raised, and NotShort; BusFailed where what must not be asked twice was not answered."""
        del timeout_s  # `bus.connect` keeps to it, when there is no answer here
        inbox = self._ask(request.subject, msgspec.json.encode(message))
        try:
            answer = self._next_message(inbox, self._answer_s if request.idempotent else request.timeout_s)
        except ReplyLost as error:
            if request.idempotent:
                raise
            raise OutcomeUnknown(f"no answer to {request.name} ({error})") from None
        if answer.status:
            raise NotShort(f"status {answer.status}")
        return reply_in(request, answer.code, answer.content)

    async def publish(self, event: Event[Payload], message: Payload) -> None:
        """Publish an event, and wait until the server has it. One that is lost is a line in the log, as with the other bus."""
        content = msgspec.json.encode(message)
        head = f"{STATUS}\r\n{CAUSE}: {new_id()}\r\n{MESSAGE_ID}: {new_id()}\r\n\r\n".encode()
        line = f"HPUB {event.subject} {len(head)} {len(head) + len(content)}\r\n".encode()
        try:
            self._send(b"".join((line, head, content, b"\r\nPING\r\n")))
            self._until_pong()
        except NotShort as error:
            log.error("event.publish_failed", message=event.name, error=str(error))

    async def bucket(self, name: BucketName[Value]) -> "ShortBucket[Value]":
        """Open a bucket, to read all of it."""
        return ShortBucket(self, name)

    def last_messages(self, stream: str, subject: str) -> Iterator[Message]:
        """Read the last message of each subject of a stream; a thousand or so at most, or NotShort (ADR-31 of NATS: multi_last)."""
        wanted = msgspec.json.encode({"multi_last": [subject], "batch": MOST_COUNT})
        inbox = self._ask(f"$JS.API.DIRECT.GET.{stream}", wanted)
        while True:
            found = self._next_message(inbox, self._answer_s)
            if found.status.startswith(END_OF_BATCH):
                return
            if found.status:
                raise NotShort(f"status {found.status}")
            yield found

    # --- the protocol ----------------------------------------------------------------------------------------------

    def _ask(self, subject: str, content: bytes) -> str:
        """Send a question; where its answer goes."""
        self._asked_count += 1
        inbox = f"{self._inbox}.{self._asked_count}"
        head = f"{STATUS}\r\n{CAUSE}: {new_id()}\r\n\r\n".encode()
        line = f"HPUB {subject} {inbox} {len(head)} {len(head) + len(content)}\r\n".encode()
        self._send(b"".join((line, head, content, b"\r\n")))
        return inbox

    def _greet(self, where: ServerUrl) -> None:
        verb, _, rest = self._line(monotonic() + min(CONNECT_S, self._answer_s)).partition(" ")
        if verb != "INFO":
            raise NotShort("no NATS")
        try:
            info = msgspec.json.decode(rest, type=Info)
        except msgspec.DecodeError:
            raise NotShort("no NATS") from None
        if info.tls_required or info.nonce or not info.headers:
            raise NotShort("more than a password")
        said: dict[str, object] = {
            "verbose": False,
            "pedantic": False,
            "protocol": 1,
            "headers": True,
            "no_responders": True,
        }
        said |= {"name": self._name, "lang": "python", "version": "1", **credentials_in(where)}
        self._send(b"CONNECT " + msgspec.json.encode(said) + f"\r\nSUB {self._inbox}.* 1\r\n".encode())

    def _until_pong(self) -> None:
        """Wait until the server has taken all that was sent. Raises NotShort."""
        until = monotonic() + self._answer_s
        while (line := self._line(until)).upper() != "PONG":
            if line.startswith("-ERR"):
                raise NotShort(line)

    def _next_message(self, inbox: str, answer_s: float) -> Message:
        """Wait for the answer to one question. Raises NotShort, and as such ReplyLost where it may have been heard."""
        until = monotonic() + answer_s
        while True:
            line = self._line(until)
            verb, *words = line.split()
            match verb.upper(), words:
                case "PING", _:
                    self._send(b"PONG\r\n")
                case "MSG", [subject, _, *_, size]:
                    content = self._bytes(self._size(size), until)
                    if subject == inbox:
                        return Message("", None, content)
                case "HMSG", [subject, _, *_, head_size, size]:
                    whole = self._bytes(self._size(size), until)
                    if subject == inbox:
                        return message_of(whole, self._size(head_size))
                case "+OK" | "PONG" | "INFO", _:
                    pass
                case _:
                    raise NotShort(line)  # -ERR: a password, a right

    def _line(self, until: float) -> str:
        while (end := self._read.find(b"\r\n")) < 0:
            if len(self._read) > LINE_BYTES:
                raise NotShort("a line without an end")
            self._fill(until)
        line = self._read[:end].decode(errors="replace")
        del self._read[: end + 2]
        return line or "+OK"

    def _bytes(self, count: int, until: float) -> bytes:
        while len(self._read) < count + 2:
            self._fill(until)
        content = bytes(self._read[:count])
        del self._read[: count + 2]
        return content

    def _fill(self, until: float) -> None:
        left_s = until - monotonic()
        if self._socket is None or left_s <= 0:
            raise ReplyLost("no answer in time")
        try:
            self._socket.settimeout(left_s)
            chunk = self._socket.recv(CHUNK_BYTES)
        except OSError as error:
            raise ReplyLost(str(error)) from None
        if not chunk:
            raise ReplyLost("the connection was closed")
        self._read += chunk

    def _send(self, content: bytes) -> None:
        if self._socket is None:
            raise NotShort("closed")
        try:
            self._socket.settimeout(self._answer_s)
            self._socket.sendall(content)
        except OSError as error:
            raise NotShort(str(error)) from None

    @staticmethod
    def _size(text: str) -> int:
        if not text.isdecimal() or int(text) > MESSAGE_BYTES:
            raise NotShort("no size")
        return int(text)

    def _close(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket = None


class ShortEntry(NamedTuple, Generic[Value]):
    """A value of a bucket."""

    value: Value


class ShortBucket(Generic[Value]):
    """A bucket that is read as a whole; of `ports.Bucket` it has `pages`."""

    def __init__(self, bus: ShortBus, name: BucketName[Value]) -> None:
        self._bus = bus
        self._name = name

    def __repr__(self) -> str:
        """Show which one."""
        return f"ShortBucket({self._name.name})"

    async def pages(self) -> AsyncIterator[list[ShortEntry[Value]]]:
        """Read everything that this version can read, as one page. Raises NotShort."""
        found: list[ShortEntry[Value]] = []
        for message in self._bus.last_messages(f"KV_{self._name.name}", f"$KV.{self._name.name}.>"):
            if message.content and not message.gone:
                with suppress(msgspec.DecodeError):
                    found.append(ShortEntry(msgspec.json.decode(message.content, type=self._name.value)))
        yield found
