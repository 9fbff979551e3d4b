"""Somebody else who is asked which tokens are valid: what he said is remembered for a while, and he is asked by few at a time.

    known    from memory, as long as an answer is fresh; one that is in use is asked for again before it is stale, so nobody waits for that
    check    asks; who shows the same token meanwhile waits for the same answer. Tried again, ever later, a bounded number of times

An answer lasts `fresh_s`: so long a token that was revoked may still count. When nobody answers, one that was valid counts for `grace_s` more, and
one that is not known is put off with 503: nobody has said that it is wrong. How many answers are remembered, how many questions are under way and how
many wait is bounded, so that a flood of made-up tokens costs no more than that.

One is on the bus (`BusAuthority`): `clusterodm.auth.check_token` is asked of whoever answers it, an integration. Others are asked over HTTP
(http_authority.py).
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import ClusterError, Refused
from clusterodm.libs.common.messages.tenants import CHECK_TOKEN, CheckToken
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.loops import background, every
from clusterodm.libs.common.tenancy import ShownToken, Tenant, mistake_in_tenant
from clusterodm.services.proxy.errors import ServerBusy
from clusterodm.services.proxy.exchange.nodeodm_api import AUTH_INFO

log = structlog.get_logger()
at_will = structlog.get_logger(at_will=True)

REMEMBERED_COUNT: Final = 10_000
AT_ONCE_COUNT: Final = 8
WAITING_COUNT: Final = 128
REFRESH_EVERY_S: Final = 0.25
NO_LONGER_THAN_S: Final = 60.0
"""That a token is not valid is remembered for so long at most: it may have been issued since."""
LONGEST_TOKEN: Final = 1024
CANNOT_CHECK: Final = "Tokens cannot be checked at the moment, please try again."
ASK_S: Final = 3.0


class Unanswered(ClusterError):
    """Whoever checks tokens gave no answer, or none that can be read; the message names no token."""


class Authority(Protocol):
    """Whoever says which tokens are valid."""

    async def validate(self, token: str) -> Tenant | None:
        """Ask once; None: it is not valid. Raises Unanswered."""

    async def approve(self, token: str, images_count: int) -> None:
        """Ask once. Raises Refused with the reason, Unanswered."""

    async def finished(self, token: str, info: Mapping[str, Any]) -> None:
        """Tell once. Raises Unanswered."""

    def auth_info(self) -> Mapping[str, Any]:
        """Say how clients come by a token."""


@dataclass(frozen=True, kw_only=True)
class RemoteCheckPolicy:
    """How long an answer counts, and how often one is tried for."""

    fresh_s: float
    grace_s: float
    tries_count: int
    pause_s: float
    """After the first failure; after the second twice as long, after the third three times."""
    finished_pause_s: float = 10.0


@dataclass
class Remembered:
    """What was said of a token."""

    token: ShownToken
    tenant: Tenant | None
    at: Instant
    used: bool = True
    """Since it was asked for."""


class RemoteChecker:
    """Implements ports.TokenChecker over somebody who is asked."""

    open_to_all = False
    is_told = True

    def __init__(self, authority: Authority, policy: RemoteCheckPolicy, clock: Clock) -> None:
        self._authority = authority
        self._policy = policy
        self._clock = clock
        self._remembered: OrderedDict[str, Remembered] = OrderedDict()
        self._asking: dict[str, asyncio.Future[Tenant | None]] = {}
        self._turn = asyncio.Semaphore(AT_ONCE_COUNT)

    def known(self, token: ShownToken) -> Tenant | None:
        """Say what is remembered, as long as it is fresh."""
        entry = self._remembered.get(token.sha256)
        if entry is None or not hmac.compare_digest(entry.token.sha256, token.sha256):
            return None
        entry.used = True
        return entry.tenant if self._clock.instant() - entry.at < self._policy.fresh_s else None

    async def check(self, token: ShownToken) -> Tenant | None:
        """Ask, unless it is known that the token is not valid."""
        if not token.text or len(token.text) > LONGEST_TOKEN:
            return None
        entry, now = self._remembered.get(token.sha256), self._clock.instant()
        lasts_s = min(self._policy.fresh_s, NO_LONGER_THAN_S)
        if entry is not None and entry.tenant is None and now - entry.at < lasts_s:
            return None
        try:
            return await self._asked(token)
        except Unanswered as error:
            lasts_s = self._policy.fresh_s + self._policy.grace_s
            if entry is not None and entry.tenant is not None and now - entry.at < lasts_s:
                return entry.tenant
            at_will.warning("token.unchecked", reason=error.message)
            raise ServerBusy(CANNOT_CHECK) from None

    async def refresh(self) -> None:
        """Ask again for what is in use and about to be stale."""
        now = self._clock.instant()
        due = [entry for entry in self._remembered.values() if self._is_due(entry, now)][:WAITING_COUNT]
        async with asyncio.TaskGroup() as group:
            for entry in due:
                entry.used = False
                group.create_task(self._refreshed(entry), name="refresh token")

    async def approve(self, token: ShownToken, images_count: int) -> None:
        """Ask whether a task may begin."""
        try:
            await self._authority.approve(token.text, images_count)
        except Unanswered as error:
            at_will.warning("task.unapproved", reason=error.message)
            raise ServerBusy(CANNOT_CHECK) from None
        except Refused as error:
            at_will.info("task.refused", reason=error.message)
            raise

    async def finished(self, token: str, info: Mapping[str, Any]) -> None:
        """Tell that a task has ended, until it is heard."""
        for failures_count in range(1, self._policy.tries_count + 1):
            try:
                return await self._authority.finished(token, info)
            except Unanswered as error:
                log.warning("account.end_untold", task=info.get("uuid"), reason=error.message, tries=failures_count)
            if failures_count < self._policy.tries_count:
                await asyncio.sleep(self._policy.finished_pause_s * (failures_count - 1))
        log.error("account.end_given_up", task=info.get("uuid"))
        return None

    def tenants(self) -> Iterable[Tenant]:
        """List those of whom it was said that a token speaks for them."""
        return (entry.tenant for entry in self._remembered.values() if entry.tenant is not None)

    def auth_info(self) -> Mapping[str, Any]:
        """Say how clients come by a token."""
        return self._authority.auth_info()

    def _is_due(self, entry: Remembered, now: Instant) -> bool:
        return entry.used and entry.tenant is not None and now - entry.at >= self._policy.fresh_s / 2

    async def _refreshed(self, entry: Remembered) -> None:
        """Ask once; whoever shows the token when its answer is stale asks again."""
        with suppress(Unanswered):
            async with self._turn:
                self._remember(entry.token, await self._authority.validate(entry.token.text))

    async def _asked(self, token: ShownToken) -> Tenant | None:
        """Ask about a token; one that is being asked about is asked about no second time. Raises Unanswered, ServerBusy."""
        if (under_way := self._asking.get(token.sha256)) is not None:
            return await asyncio.shield(under_way)
        if len(self._asking) >= WAITING_COUNT:
            raise ServerBusy(CANNOT_CHECK)
        asked = self._asking[token.sha256] = asyncio.get_running_loop().create_future()
        try:
            tenant = await self._tried(token)
            self._remember(token, tenant)
            asked.set_result(tenant)
        except Unanswered as error:
            asked.set_exception(error)
            raise
        finally:
            del self._asking[token.sha256]
            if not asked.done():
                asked.set_exception(Unanswered("whoever asked has gone"))
            asked.exception()  # has been seen, whether anybody else waits for it or not
        return tenant

    async def _tried(self, token: ShownToken) -> Tenant | None:
        """Ask until there is an answer. Raises Unanswered."""
        for failures_count in range(1, self._policy.tries_count + 1):
            try:
                async with self._turn:
                    return await self._authority.validate(token.text)
            except Unanswered as error:
                if failures_count == self._policy.tries_count:
                    raise
                log.info("token.check_retried", reason=error.message, tries=failures_count)
            await asyncio.sleep(self._policy.pause_s * failures_count)
        raise Unanswered("nobody was asked")

    def _remember(self, token: ShownToken, tenant: Tenant | None) -> None:
        before = self._remembered.pop(token.sha256, None)
        used = before.used if before is not None else True
        self._remembered[token.sha256] = Remembered(token, tenant, self._clock.instant(), used)
        while len(self._remembered) > REMEMBERED_COUNT:
            self._remembered.popitem(last=False)


@asynccontextmanager
async def remembered(authority: Authority, policy: RemoteCheckPolicy, clock: Clock) -> AsyncIterator[RemoteChecker]:
    """Ask an authority while the context is open."""
    checker = RemoteChecker(authority, policy, clock)
    async with background(lambda: every(REFRESH_EVERY_S, checker.refresh, "refresh tokens"), "refresh tokens"):
        yield checker


class BusAuthority:
    """An integration on the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def validate(self, token: str) -> Tenant | None:
        """Ask for whom a token speaks."""
        try:
            answer = await self._bus.request(CHECK_TOKEN, CheckToken(token=token), timeout_s=ASK_S)
        except Refused:
            return None
        except ClusterError as error:
            raise Unanswered(error.message) from None
        if not answer.tenant:
            return None
        tenant = Tenant(
            name=answer.tenant,
            weight=answer.weight,
            priority=answer.priority,
            max_images_count=answer.max_images_count,
            max_task_bytes=answer.max_task_bytes,
            tasks_at_once_count=answer.tasks_at_once_count,
            storage_bytes=answer.storage_bytes,
            labels=answer.labels,
        )
        if mistake := mistake_in_tenant(tenant):
            raise Unanswered(f"an integration answered {CHECK_TOKEN.name} with nonsense: {mistake}")
        return tenant

    async def approve(self, token: str, images_count: int) -> None:
        """Approve: who wants to refuse a task gives its tenant limits."""

    async def finished(self, token: str, info: Mapping[str, Any]) -> None:
        """Tell nobody: the event `task.finished` says it to everybody."""

    def auth_info(self) -> Mapping[str, Any]:
        """Say that there is nothing to log in to."""
        return AUTH_INFO
