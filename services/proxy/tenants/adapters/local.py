"""Tokens that this computer knows: none at all, the one of `--token`, or those of a file.

The file is looked at every second and read when it is another one. One that cannot be read, or holds a mistake, changes nothing: the one before
goes on to count, and one line says what is wrong; while that lasts, it is said again once in a while. Of revoked tokens no proxy knows anything a second or two later.
"""

import asyncio
import hmac
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any, Final

import structlog

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.process.files import read_regular
from clusterodm.libs.common.process.loops import background, every
from clusterodm.libs.common.telemetry.log import Seldom
from clusterodm.libs.common.tenancy import FILE_LIMIT_BYTES, ShownToken, Tenant, TokenBook, read_tokens, shown
from clusterodm.services.proxy.exchange.nodeodm_api import AUTH_INFO

log = structlog.get_logger()

REFRESH_EVERY_S: Final = 1.0
SAID_AGAIN_S: Final = 600.0
"""So long the same trouble is not told again."""
REMEMBERED_COUNT: Final = 2048
Seen = tuple[int, int, int, int]
"""What tells one state of a file from another."""


class NothingToApprove:
    """What those have in common who only know tokens."""

    @property
    def is_told(self) -> bool:
        """Nobody is asked about a task, or told of its end."""
        return False

    async def approve(self, token: ShownToken, images_count: int) -> None:
        """Approve of every task."""

    async def finished(self, token: str, info: Mapping[str, Any]) -> None:
        """Tell nobody."""

    def tenants(self) -> Iterable[Tenant]:
        """Name none: nobody has a share."""
        return ()

    def auth_info(self) -> Mapping[str, Any]:
        """Say that there is nothing to log in to."""
        return AUTH_INFO


class EverybodyMayCome(NothingToApprove):
    """No token is asked for; those that clients send all the same keep their tasks apart."""

    @property
    def open_to_all(self) -> bool:
        """Everybody is let in."""
        return True

    def known(self, token: ShownToken) -> Tenant | None:
        """Let everybody in."""
        return tenant_without_name(token)

    async def check(self, token: ShownToken) -> Tenant | None:
        """Let everybody in."""
        return self.known(token)


class OneToken(NothingToApprove):
    """The one of `--token`."""

    def __init__(self, token: str) -> None:
        self._expected = shown(token)
        self._tenant = Tenant(owner=self._expected.owner)

    @property
    def open_to_all(self) -> bool:
        """Who has it is let in."""
        return False

    def known(self, token: ShownToken) -> Tenant | None:
        """Compare."""
        return self._tenant if same(token, self._expected) else None

    async def check(self, token: ShownToken) -> Tenant | None:
        """Compare."""
        return self.known(token)


class TokenFile(NothingToApprove):
    """Those of a file; made by `followed`."""

    def __init__(self, path: Path, now_ms: Callable[[], WallMs], now_s: Callable[[], float] = monotonic) -> None:
        self._path = path
        self._now_ms = now_ms
        self._now_s = now_s
        self._seen: Seen | None = None
        self._trouble: tuple[str, Seen | None] | None = None
        """What is wrong, and with which state of the file."""
        self._repeats = Seldom(SAID_AGAIN_S)
        self.book = self._read()

    @property
    def open_to_all(self) -> bool:
        """Who has one of them is let in; with none in the file, nobody is."""
        return False

    def known(self, token: ShownToken) -> Tenant | None:
        """Look it up."""
        return self.book.tenant_of(token, self._now_ms())

    async def check(self, token: ShownToken) -> Tenant | None:
        """Look it up."""
        return self.known(token)

    def tenants(self) -> Iterable[Tenant]:
        """List all that are in it."""
        return self.book.tenants.values()

    async def refresh(self) -> None:
        """Read the file if it is another one than before."""
        try:
            seen = await asyncio.to_thread(seen_of, self._path)
            if seen == self._seen:
                return
            book = await asyncio.to_thread(self._read)
        except (OSError, Refused) as error:
            self._complain(error)
            return
        self.book, self._trouble = book, None
        log.info("tokens.read", path=str(self._path), known_count=len(book), tenants=len(book.tenants))
        self.warn_if_nobody_may_come()

    def warn_if_nobody_may_come(self) -> None:
        """Say that the file lets nobody in: that may be meant, and may be a file that somebody has yet to fill."""
        if not self.book.valid_count(self._now_ms()):
            log.warning("tokens.none_valid", path=str(self._path), known_count=len(self.book))

    def _read(self) -> TokenBook:
        """Read the file. Raises Refused, OSError."""
        self._seen = seen_of(self._path)
        return TokenBook(read_tokens(read_regular(self._path, FILE_LIMIT_BYTES)))

    def _complain(self, error: OSError | Refused) -> None:
        """Tell of trouble: once for each state of the file; one that cannot be read is tried again each time, and told of seldom."""
        if isinstance(error, OSError):
            self._seen = None
        trouble = str(error), self._seen
        if trouble != self._trouble:
            self._trouble, self._repeats = trouble, Seldom(SAID_AGAIN_S)
        if count := self._repeats.passes(self._now_s()):
            log.error("tokens.refused", path=str(self._path), reason=str(error), count=count)


@lru_cache(REMEMBERED_COUNT)
def tenant_without_name(token: ShownToken) -> Tenant:
    """Say for whom a token speaks where nobody asks for one: it comes again with each poll."""
    return Tenant(owner=token.owner)


def same(token: ShownToken, other: ShownToken) -> bool:
    """Compare two tokens in a time that says nothing of them."""
    return hmac.compare_digest(token.sha256, other.sha256)


def seen_of(path: Path) -> Seen:
    """Say what tells the present state of a file from others. Raises OSError."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def open_to_others(path: Path) -> bool:
    """Whether others than its user may change a file: then they could let themselves in."""
    return bool(path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))


@asynccontextmanager
async def followed(path: Path, now_ms: Callable[[], WallMs]) -> AsyncIterator[TokenFile]:
    """Follow a file while the context is open. Raises Refused when it cannot be read at the start."""
    try:
        file = await asyncio.to_thread(TokenFile, path, now_ms)
        if open_to_others(path):
            log.warning("tokens.exposed", path=str(path))
        file.warn_if_nobody_may_come()
    except (OSError, Refused) as error:
        reason = error.strerror if isinstance(error, OSError) else error.message
        raise Refused(f"--tokens {path}: {reason}") from None
    async with background(lambda: every(REFRESH_EVERY_S, file.refresh, "look at tokens"), "look at tokens"):
        yield file
