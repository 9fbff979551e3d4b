"""`--access-log FILE`: a line for each request, when it came, from where, and for what, as ClusterODX writes it.

    2026-01-08T18:56:00.000Z [192.0.2.7] /task/5b3a1c6e-8f0d-4e7a-9a51-0c2f6d1b7e44/info?token=***

Tokens are not written. At 100 MB the file becomes FILE.1, in place of the one before, and begins anew; where somebody else moves it (logrotate, another
proxy that writes to the same file), it is opened again. A disk that is full, or a file that cannot be opened again, costs lines and no requests.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote_plus

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused

LIMIT_BYTES: Final = 100 * 1024 * 1024
MODE: Final = 0o600
SECRET: Final = "token"  # noqa: S105 its name


class AccessLog:
    """The file."""

    def __init__(self, path: str, now_ms: Callable[[], WallMs], limit_bytes: int = LIMIT_BYTES) -> None:
        """Open it. Raises Refused with a sentence for the operator."""
        self._path = path
        self._now_ms = now_ms
        self._limit_bytes = limit_bytes
        try:
            self._descriptor = opened(path)
        except OSError as error:
            raise Refused(f"cannot write to --access-log {path}: {error.strerror}") from None

    def __repr__(self) -> str:
        """Show where it is."""
        return f"AccessLog({self._path})"

    def __call__(self, address: str, target: bytes) -> None:
        """Write about a request."""
        with suppress(OSError):
            self._turn()
            os.write(self._descriptor, line(address, target, self._now_ms()).encode())

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def _turn(self) -> None:
        """Begin anew when it is full, or is not there any more."""
        ours = os.fstat(self._descriptor)
        try:
            there = Path(self._path).stat()
        except FileNotFoundError:
            there = None
        if there and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
            if ours.st_size < self._limit_bytes:
                return
            Path(self._path).replace(f"{self._path}.1")
        fresh = opened(self._path)
        os.close(self._descriptor)
        self._descriptor = fresh


@contextmanager
def written(path: str, now_ms: Callable[[], WallMs]) -> Iterator[AccessLog | None]:
    """Write a log while the context is open; no path, no log. Raises Refused."""
    if not path:
        yield None
        return
    log = AccessLog(path, now_ms)
    try:
        yield log
    finally:
        log.close()


def opened(path: str) -> int:
    """Open a file to write at its end. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)


def line(address: str, target: bytes, now_ms: WallMs) -> str:
    """Write about one request."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{moment} [{address}] {without_token(target.decode('ascii', 'backslashreplace'))}\n"


def without_token(target: str) -> str:
    """Take the token's value out, however its name is written."""
    path, mark, query = target.partition("?")
    return path + mark + "&".join(map(shown, query.split("&")))


def shown(parameter: str) -> str:
    """Show a parameter of a query."""
    name, mark, _ = parameter.partition("=")
    return f"{name}{mark}***" if mark and unquote_plus(name).strip() == SECRET else parameter
