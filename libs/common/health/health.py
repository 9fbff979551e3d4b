"""How a service is: alive (`/healthz`), and ready to be of use (`/readyz`).

    alive   its event loop turns, none of its named loops hangs, and it has not been told to stop
    ready   alive, all it needs is there (its facts), none of its loops fails, NATS refuses it no right, and every service that it needs
            has answered lately

A service that is not alive is to be started again; one that is not ready may become so by itself. Other services are asked over the
bus again and again: one that is frozen or hangs is seen like one that is gone, because it does not answer. One that waits to lead answers nobody, and
says by itself how it is.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import msgspec
import structlog

from clusterodm.libs.common.bus.ids import new_id
from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.common.messages.health import (
    STANDBY_REPORTED,
    HealthReport,
    ReportHealth,
    ServiceSeen,
    StandbyReported,
)
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.model.values import InstanceId
from clusterodm.libs.common.ports import Bus, Term
from clusterodm.libs.common.process.lifecycle import SystemClock, monotonic_s
from clusterodm.libs.common.process.loops import Loops, background, every, running_loops
from clusterodm.libs.common.process.watchdog import notify_ready
from clusterodm.libs.common.version import VERSION

log = structlog.get_logger()

CHECK_EVERY_S: Final = 5.0
SILENT_AFTER_S: Final = 15.0
"""A service that has not answered for so long hangs or is gone; a new leader is there sooner."""

PAGES: Final = {"/healthz": "alive", "/readyz": "ok"}
"""What has to be true for 200 and not 503."""

Facts = Callable[[], Mapping[str, bool]]
HealthRequest = Request[ReportHealth, HealthReport]
REPORT_EVERY_S: Final = 5.0
STAND_BY_S: Final = 0.5
"""Before leadership is tried again when NATS, or the reading of the records, has just failed."""


class NeededServices:
    """Other services, and when each has last answered."""

    def __init__(
        self,
        bus: Bus,
        requests: Mapping[str, HealthRequest],
        clock: Clock | None = None,
        silent_after_s: float = SILENT_AFTER_S,
    ) -> None:
        self._bus = bus
        self._requests = requests
        self._clock = clock or SystemClock()
        self._silent_after_s = silent_after_s
        self._heard_at: dict[str, Instant] = {}
        self._errors: dict[str, str] = {}

    async def check(self) -> None:
        """Ask each of them how it is."""
        for name, request in self._requests.items():
            try:
                await self._bus.request(request, ReportHealth())
            except BusFailed as error:
                self._errors[name] = error.message
            except ClusterError:  # it answers, if only to say that it cannot
                self._heard(name)
            else:
                self._heard(name)

    def seen(self) -> dict[str, ServiceSeen]:
        """Say what is known of each."""
        now = self._clock.instant()
        return {name: self._seen(name, now) for name in self._requests}

    def _heard(self, name: str) -> None:
        self._heard_at[name] = self._clock.instant()
        self._errors.pop(name, None)

    def _seen(self, name: str, now: Instant) -> ServiceSeen:
        heard_at = self._heard_at.get(name)
        silent_s = None if heard_at is None else round(now - heard_at, 1)
        ok = silent_s is not None and silent_s < self._silent_after_s
        return ServiceSeen(ok=ok, heard_age_s=silent_s, error=self._errors.get(name, ""))


class Health:
    """How this service is."""

    def __init__(
        self,
        service: str,
        facts: Facts,
        needed: NeededServices | None = None,
        loops: Loops | None = None,
        *,
        may_lead: bool = False,
    ) -> None:
        self._service = service
        self._facts = facts
        self._needed = needed
        self._loops = loops or running_loops()
        self.may_lead = may_lead
        """There may be several of it, of which one leads."""
        self.term: Term | None = None
        """As long as it leads."""
        self.waits_since_ms = SystemClock().wall_ms()
        """When it was started, or its last term ended."""
        self.stopping = False
        """It was told to stop: nothing new should come here."""

    @contextmanager
    def leading(self, term: Term) -> Iterator[None]:
        """Say that it leads while the context is open."""
        self.term = term
        try:
            yield
        finally:
            self.term = None
            self.waits_since_ms = SystemClock().wall_ms()

    @property
    def alive(self) -> bool:
        """Whether it need not be started again."""
        return self._loops.alive and not self.stopping

    def report(self) -> HealthReport:
        """Say how it is, and what it lacks."""
        loops, refused = tuple(self._loops.report()), self._loops.bus.rights_lacking()
        facts = {**self._facts(), "rights": not refused}
        services = self._needed.seen() if self._needed else {}
        lacking = [*facts.values(), *(loop.ok for loop in loops), *(seen.ok for seen in services.values())]
        return HealthReport(
            ok=self.alive and all(lacking),
            alive=self.alive,
            service=self._service,
            facts=facts,
            loops=loops,
            services=services,
            rights_refused=refused,
            version=VERSION,
            host=socket.gethostname(),
            epoch=self.term.epoch if self.term is not None and self.term.valid else None,
        )

    async def measured(self) -> HealthReport:
        """Say how it is, and how long a turn of its event loop takes at present."""
        began = monotonic_s()
        await asyncio.sleep(0)  # whatever else is due comes first
        return msgspec.structs.replace(self.report(), turn_ms=round((monotonic_s() - began) * 1000, 2))

    async def check(self) -> None:
        """Ask the services that it needs now, not only when their turn comes."""
        if self._needed:
            await self._needed.check()

    async def answer(self, _asked: ReportHealth) -> HealthReport:
        """Answer over the bus."""
        return await self.measured()

    def page(self, path: str, *, errors: bool = True) -> tuple[bool, dict[str, Any]] | None:
        """Answer for an address: whether all is well, and what to say; None: there is no such page.

        `errors`: say what loops failed with, too; not on a port that everybody reaches.
        """
        if path not in PAGES:
            return None
        report = self.report()
        said = msgspec.to_builtins(report if errors else without_errors(report))
        return getattr(report, PAGES[path]), {"ok": report.ok, "alive": report.alive, **report.facts, **said}


def without_errors(report: HealthReport) -> HealthReport:
    """Leave out the texts of errors, and what is nobody's business: the host and the version."""
    return msgspec.structs.replace(
        report,
        version="",
        host="",
        loops=tuple(msgspec.structs.replace(loop, error="") for loop in report.loops),
        services={name: msgspec.structs.replace(seen, error="") for name, seen in report.services.items()},
    )


@asynccontextmanager
async def reported_as_standby(bus: Bus, health: Health) -> AsyncIterator[None]:
    """Say every few seconds how this process is while it does not lead, as long as the context is open."""
    instance = InstanceId(f"{socket.gethostname()}-{new_id()[:8]}")
    name = "report as standby"
    async with background(lambda: every(REPORT_EVERY_S, lambda: report_standby(bus, health, instance), name), name):
        yield


async def report_standby(bus: Bus, health: Health, instance: InstanceId) -> None:
    """Say it once; a leader is asked instead, and while NATS is away nobody hears it."""
    leads = health.term is not None and health.term.valid
    if leads or not bus.connected:
        return
    said = StandbyReported(instance=instance, since_ms=health.waits_since_ms, health=await health.measured())
    await bus.publish(STANDBY_REPORTED, said)


async def lead_in_turn(bus: Bus, service: str, act: Callable[[Term], Awaitable[None]], ttl_s: int = 5) -> None:
    """Wait until no other leads, and act until the term is over; again and again, for ever."""
    holder = f"{socket.gethostname()}-{os.getpid()}-{new_id()[:8]}"
    while True:
        log.info("leadership.awaited", holder=holder)
        notify_ready()
        try:
            async with bus.lead(service, holder, ttl_s) as term:
                await act(term)
                log.warning("leadership.ended", epoch=term.epoch)
        except BusFailed as error:
            log.warning("leadership.ended", reason=error.message)
            await asyncio.sleep(STAND_BY_S)
