"""`--access-log FILE`: a line for each request, in one of three forms (`--access-log-format`).

    plain      2026-01-08T18:56:00.000Z [192.0.2.7] /task/5b3a1c6e-8f0d-4e7a-9a51-0c2f6d1b7e44/info?token=***
    combined   192.0.2.7 - acme [08/Jan/2026:18:56:00 +0000] "GET /info?token=*** HTTP/1.1" 200 512 "-" "python-requests/2.32.3"
    json       {"time":"2026-01-08T18:56:00.000Z","address":"192.0.2.7","tenant":"acme","method":"GET","target":"/info?token=***", ...}

`plain` is ClusterODX's, written when a request comes; the others when it is over, for they say what came of it. A request whose connection was
closed without an answer has the status 444, as nginx writes it.

Tokens are not written, mistyped ones neither (`?TOKEN=`, `?x=1;token=`, `/info&token=`): of a query, only the numbers are that the API knows. At 100 MB the file becomes FILE.1, in place of the one before, and begins anew; where somebody else moves it (logrotate, another
proxy that writes to the same file), it is opened again. One whose directory is not this user's cannot be moved: it grows on, and the log says so at each 100 MB. A disk that is full, or
a file that cannot be opened again, costs lines and no requests.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote_plus

import msgspec
import structlog

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.http_io.sharing import EarlyRequest
from clusterodm.libs.common.secret import HIDDEN
from clusterodm.libs.common.telemetry.log import hide

LIMIT_BYTES: Final = 100 * 1024 * 1024
MODE: Final = 0o600
NUMBERS: Final = frozenset(("line", "with_output", "from_line"))
"""The parameters that are written as they are, where their value is a number. All others may hold a token, by mistake or not."""
NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
WORD: Final = re.compile(r"\w{1,32}")
HIDING: Final = re.compile(r"(?i)(?:[;&=]|%3[bdf]|%26).*", re.DOTALL)
"""The rest of a path in which somebody has written a parameter: no address of ours has such signs."""
OK: Final = 200
CLOSED: Final = 444
"""The status of a request that was not answered."""
LONGEST: Final = 8192
"""Of each part that a client chooses; what is longer is cut."""
ESCAPED: Final = {
    **{code: f"\\x{code:02x}" for code in (*range(32), *range(127, 256))},
    ord('"'): '\\"',
    ord("\\"): "\\\\",
}
"""As nginx and Apache do, so that no client writes lines or fields of its own."""
AccessForm = Literal["plain", "combined", "json"]

log = structlog.get_logger()


class AnsweredRequest(NamedTuple):
    """What came of a request."""

    address: str
    method: str
    target: bytes
    """As it came: there may be a token in it."""
    version: str
    status: int
    """0: its connection was closed without an answer."""
    sent_bytes: int
    """Of the answer's body."""
    received_bytes: int
    seconds: float
    referer: bytes = b""
    agent: bytes = b""
    tenant: str = ""
    cause: str = ""
    """The id of the request in the logs of all services."""


Answered = Callable[[AnsweredRequest], None]


class AccessLog:
    """The file."""

    def __init__(
        self, path: str, now_ms: Callable[[], WallMs], form: AccessForm = "plain", limit_bytes: int = LIMIT_BYTES
    ) -> None:
        """Open it. Raises Refused with a sentence for the operator."""
        self._path = path
        self._now_ms = now_ms
        self.form: Final = form
        self._limit_bytes = self._full_bytes = limit_bytes
        """How long it is to be, and from what length on it is moved."""
        try:
            self._descriptor = opened(path)
        except OSError as error:
            raise Refused(f"cannot write to --access-log {path}: {error.strerror}") from None

    def heard(self, address: str, target: bytes) -> None:
        """Write about a request that has come."""
        self._write(line(address, target, self._now_ms()))

    def answered(self, request: AnsweredRequest) -> None:
        """Write about a request that is over."""
        written_as = combined if self.form == "combined" else as_json
        self._write(written_as(request, self._now_ms()))

    def answered_plainly(self, address: str, plain: EarlyRequest, data: bytes, sent_bytes: int, seconds: float) -> None:
        """Write about a request that was answered from its bytes (libs/common/http_io/sharing)."""
        self.answered(read(address, data, sent_bytes, seconds, plain.account))

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def _write(self, text: str) -> None:
        with suppress(OSError):
            self._turn()
            os.write(self._descriptor, text.encode())

    def _turn(self) -> None:
        """Begin anew when it is full, or is not there any more."""
        ours = os.fstat(self._descriptor)
        try:
            there = Path(self._path).stat()
        except FileNotFoundError:
            there = None
        is_there = there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
        if is_there and (ours.st_size < self._full_bytes or not self._is_moved()):
            return
        fresh = opened(self._path)
        os.close(self._descriptor)
        self._descriptor, self._full_bytes = fresh, self._limit_bytes

    def _is_moved(self) -> bool:
        """Move it out of the way; False: that cannot be done, and it is tried again when it has become longer by as much."""
        try:
            Path(self._path).replace(f"{self._path}.1")
        except OSError as error:
            self._full_bytes += self._limit_bytes
            log.warning("access_log.not_moved", path=self._path, reason=error.strerror)
            return False
        return True


@contextmanager
def written(path: str, now_ms: Callable[[], WallMs], form: AccessForm = "plain") -> Iterator[AccessLog | None]:
    """Write a log while the context is open; no path, no log. Raises Refused."""
    if not path:
        yield None
        return
    file = AccessLog(path, now_ms, form)
    try:
        yield file
    finally:
        file.close()


def opened(path: str) -> int:
    """Open a file to write at its end, or a pipe, without waiting for who reads it. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, MODE)


def read(address: str, data: bytes, sent_bytes: int, seconds: float, tenant: str = "") -> AnsweredRequest:
    """Read a plain request that was answered well."""
    head, _, body = data.partition(b"\r\n\r\n")
    request, *lines = head.split(b"\r\n")
    method, target, version = request.split(b" ", 2)
    named = {name.lower(): value.strip() for name, _, value in (each.partition(b":") for each in lines)}
    return AnsweredRequest(
        address=address,
        method=method.decode(),
        target=target,
        version=version.decode().removeprefix("HTTP/"),
        status=OK,
        sent_bytes=sent_bytes,
        received_bytes=len(body),
        seconds=seconds,
        referer=named.get(b"referer", b""),
        agent=named.get(b"user-agent", b""),
        tenant=tenant,
    )


def line(address: str, target: bytes, now_ms: WallMs) -> str:
    """Write about one request that has come."""
    return f"{instant(now_ms)} [{address}] {without_token(target.decode('ascii', 'backslashreplace'))}\n"


def combined(request: AnsweredRequest, now_ms: WallMs) -> str:
    """Write a line as web servers do, for the tools that read theirs."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    asked = f"{quoted(request.method)} {target_of(request)} HTTP/{request.version}"
    told = f"{request.status or CLOSED} {request.sent_bytes}"
    referer, agent = (quoted(part) or "-" for part in (address_of(request.referer), hide(text(request.agent))))
    return f'{request.address} - {quoted(request.tenant) or "-"} [{moment}] "{asked}" {told} "{referer}" "{agent}"\n'


def as_json(request: AnsweredRequest, now_ms: WallMs) -> str:
    """Write a line as an object."""
    return (
        msgspec.json.encode(
            {
                "time": instant(now_ms),
                "address": request.address,
                "tenant": request.tenant,
                "method": request.method,
                "target": without_token(text(request.target)),
                "protocol": f"HTTP/{request.version}",
                "status": request.status or CLOSED,
                "sent_bytes": request.sent_bytes,
                "received_bytes": request.received_bytes,
                "duration_s": round(request.seconds, 6),
                "referer": address_of(request.referer),
                "user_agent": hide(text(request.agent)),
                "cause": request.cause,
            }
        ).decode()
        + "\n"
    )


def instant(now_ms: WallMs) -> str:
    """Write a moment as ISO 8601 has it."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text(part: bytes) -> str:
    """Read what a client has sent, byte by byte."""
    return part[:LONGEST].decode("latin-1")


def quoted(words: str) -> str:
    """Write words as they may stand between quotes."""
    return words.translate(ESCAPED)


def target_of(request: AnsweredRequest) -> str:
    """Write a target without its token, as it may stand between quotes."""
    return quoted(without_token(text(request.target)))


def without_token(target: str) -> str:
    """Take everything out of an address that could be a token, however mistyped: what is not known to be harmless is not written."""
    path, mark, query = target.partition("?")
    return HIDING.sub(HIDDEN, path) + mark + "&".join(map(shown, query.split("&")))


def shown(parameter: str) -> str:
    """Show a parameter of a query: the value only where it is a number under a name that we read, the name only where it is a word."""
    name, mark, value = parameter.partition("=")
    if parameter == "" or (name in NUMBERS and NUMBER.fullmatch(value)):
        return parameter
    is_name = value and WORD.fullmatch(unquote_plus(name).strip())
    return f"{name}{mark}{HIDDEN}" if is_name else HIDDEN


def address_of(referer: bytes) -> str:
    """Show from which page a request came, as its own address is shown."""
    return hide(without_token(text(referer)))
