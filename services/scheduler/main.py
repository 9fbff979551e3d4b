"""Wires the scheduler, and does nothing else.

Any number of schedulers may run. One is in office: it reads the records, starts the loops, and answers. The others have connected
and wait for the office. A term that is over ends all of that and the process stands by again (leadership.py). Each of them asks, as
anybody would, whether a leader answers: none is ready while nobody leads.
"""

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog

from libs.common.bus import connect
from libs.common.clocks import Clock
from libs.common.errors import BusFailed
from libs.common.health import ASK_EVERY_S, Health, NeededServices
from libs.common.health_port import health_listener, health_served
from libs.common.incarnation import incarnation
from libs.common.lifecycle import Crew, SystemClock, run
from libs.common.log import configure
from libs.common.loops import LATE_AFTER_S, Start, background, every
from libs.common.messages import (
    CONSOLES,
    ENDED,
    NODES,
    OBSERVATIONS,
    OPTIONS,
    PROXIES,
    SCHEDULER_HEALTH,
    SUMMARY,
    TASKS,
    TOMBSTONES,
    UPLOADS,
    BucketName,
)
from libs.common.nodeodm import NodeClient
from libs.common.ports import Bus, Term
from libs.common.settings import parse
from libs.common.watchdog import notify_ready, with_watchdog
from services.scheduler.demand.handlers import Totals
from services.scheduler.events import Voice
from services.scheduler.forwarding.handlers import ForwardHandlers
from services.scheduler.leadership import Office
from services.scheduler.node_client.adapters import NodeODMNodes, NodesInOffice
from services.scheduler.node_client.ports import NodeApi
from services.scheduler.nodes.handlers.commands import NodeHandlers
from services.scheduler.nodes.handlers.leaving import Drainer, Loser
from services.scheduler.nodes.handlers.probing import Prober
from services.scheduler.placement.core.cluster_state import ClusterState
from services.scheduler.placement.handlers.place import NewId, Placer
from services.scheduler.placement.handlers.requests import Aimer
from services.scheduler.placement.handlers.waits import Explainer, Hopeless
from services.scheduler.records.adapters import SqliteIndex
from services.scheduler.records.handlers.recovery import Memory
from services.scheduler.records.handlers.task_store import Ledger
from services.scheduler.server import SERVICE, Handlers, served
from services.scheduler.settings import SchedulerSettings
from services.scheduler.tasks.core.observation import OBSERVE_S
from services.scheduler.tasks.handlers.absence import Absences
from services.scheduler.tasks.handlers.actions import ActionHandlers
from services.scheduler.tasks.handlers.observing import Consoles, Observer
from services.scheduler.tasks.handlers.reading import ReadHandlers
from services.scheduler.tasks.handlers.retention import Archivist, Cleaner
from services.scheduler.tasks.handlers.submit import CommitHandlers
from services.scheduler.tasks.handlers.tracking import Tracker

PROG: Final = f"clusterodm {SERVICE}"
CREW_COUNT: Final = 64
SWEEP_S: Final = 0.5
STAND_BY_S: Final = 0.5
"""Before the office is tried again when its records could not be read."""
FORGET_S: Final = 60.0
ABSENT_S: Final = 5.0
GO_ROUND: Final = frozenset({"probe nodes", "track tasks", "tell totals"})
"""Loops that go round by themselves every second or so: they hang when they have not for much longer."""

log = structlog.get_logger()


def new_uuid() -> str:
    """Make an id for an attempt."""
    return str(uuid.uuid4())


def main(argv: Sequence[str]) -> int:
    """Run the scheduler until it is told to stop; the exit code."""
    settings = parse(SchedulerSettings, argv, PROG)
    configure(SERVICE, settings.log_level, as_json=settings.log_json, debug=settings.debug)
    if settings.grant_s is not None:
        log.warning("setting has no effect any more", setting="grant_s", reason="slots are reserved only for who asks")
    return run(with_watchdog(serve(settings)), PROG)


def new_holder() -> str:
    """Name this process among those that may hold the office."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


async def serve(settings: SchedulerSettings) -> None:
    """Wire the scheduler to the real world; stand by and serve, again and again, until cancelled."""
    with health_listener(settings) as health_port:
        async with (
            connect(
                settings.nats_url, SERVICE, wait_s=settings.nats_wait_s, replicas_count=settings.nats_replicas_count
            ) as bus,
            NodeClient() as client,
        ):
            leader = NeededServices(bus, {"leader": SCHEDULER_HEALTH})
            health = Health(SERVICE, lambda: {"bus": bus.connected}, leader)
            async with (
                health_served(health, health_port),
                background(lambda: every(ASK_EVERY_S, leader.ask, "ask the leader"), "ask the leader"),
            ):
                await open_all(bus, settings)
                holder, memory = new_holder(), Memory()
                while True:
                    await in_office(bus, NodeODMNodes(client), settings, holder, health, memory)


async def open_all(bus: Bus, settings: SchedulerSettings) -> None:
    """Open what a leader needs while another leads: the bus keeps it, so taking office depends on no call that may fail."""
    names: tuple[BucketName[Any], ...] = (
        TASKS,
        ENDED,
        OBSERVATIONS,
        NODES,
        TOMBSTONES,
        UPLOADS,
        PROXIES,
        SUMMARY,
        OPTIONS,
    )
    for name in names:
        await bus.bucket(name)
    await bus.objects(CONSOLES, settings.task_retention_h * 3600)


async def in_office(  # noqa: PLR0913, PLR0917 the world, who we are in it, and what we know of it
    bus: Bus, api: NodeApi, settings: SchedulerSettings, holder: str, health: Health, memory: Memory
) -> None:
    """Stand by until no other is in office, and serve until the term is over."""
    log.info("standing by", holder=holder)
    notify_ready()
    try:
        async with (
            bus.lead(SERVICE, holder, ttl_s=settings.lease_s) as term,
            running(bus, api, settings, term, health, memory=memory) as scheduler,
        ):
            log.info("scheduler is ready", epoch=term.epoch, tasks=len(scheduler.ledger.board.index.tasks))
            await health.ask()
            await term.over()
            log.warning("out of office", epoch=term.epoch)
    except BusFailed as error:
        log.warning("out of office", reason=error.message)
        await asyncio.sleep(STAND_BY_S)


@dataclass(frozen=True)
class Scheduler:
    """All parts of it, wired."""

    ledger: Ledger
    totals: Totals
    prober: Prober
    loser: Loser
    cleaner: Cleaner
    archivist: Archivist
    observer: Observer
    drainer: Drainer
    aimer: Aimer
    explainer: Explainer
    hopeless: Hopeless
    handlers: Handlers


async def wired(  # noqa: PLR0913, PLR0917 the world, and who we are in it
    bus: Bus, nodes: NodeApi, settings: SchedulerSettings, term: Term, clock: Clock, new_id: NewId
) -> Scheduler:
    """Read the records and put the parts together."""
    office = Office(term)
    api = NodesInOffice(nodes, office)
    board = ClusterState(
        send_ahead_count=settings.send_ahead_count,
        per_owner_count=settings.tasks_per_owner_count,
        longest_backoff_s=settings.retry_longest_s,
        foresees=settings.placement == "foresight",
        holder_silence_s=settings.holder_silence_s,
    )
    ledger = await Ledger.open(bus, board, SqliteIndex(), clock, office)
    voice = Voice(bus, clock)
    prober = Prober(ledger, api, voice, settings)
    placer = Placer(ledger, bus, voice, new_id)
    observer = await Observer.open(bus, ledger)
    consoles = await Consoles.open(bus, api, office, settings)
    tracker = Tracker(ledger, api, voice, consoles, observer, settings)
    cleaner = Cleaner(ledger, api, consoles, settings)
    aimer = Aimer(ledger, settings)
    handlers = Handlers(
        aimer=aimer,
        nodes=NodeHandlers(ledger, prober, voice),
        commits=CommitHandlers(ledger, placer, api, voice),
        placer=placer,
        forwards=ForwardHandlers(ledger, api, voice, placer, prober, settings),
        actions=ActionHandlers(ledger, cleaner, consoles, api, voice, settings),
        reads=ReadHandlers(ledger, api, consoles, settings),
        tracker=tracker,
        loser=Loser(ledger, tracker, voice, settings),
        absences=Absences(ledger, bus, api, voice, settings),
    )
    totals = await Totals.open(ledger, bus, api, settings)
    drainer = Drainer(ledger, api, voice, settings)
    archivist, explainer = Archivist(ledger, consoles), Explainer(ledger, bus)
    return Scheduler(
        ledger,
        totals,
        prober,
        handlers.loser,
        cleaner,
        archivist,
        observer,
        drainer,
        aimer,
        explainer,
        Hopeless(ledger, voice),
        handlers,
    )


def loops(scheduler: Scheduler, settings: SchedulerSettings, crew: Crew) -> dict[str, Start]:
    """Name everything that goes on by itself."""
    placer, forwards, cleaner = scheduler.handlers.placer, scheduler.handlers.forwards, scheduler.cleaner

    def again(interval_s: float, act: Callable[[], Awaitable[object]], name: str) -> Start:
        return lambda: every(interval_s, act, name)

    return {
        "probe nodes": scheduler.prober.run,
        "place tasks": placer.run,
        "track tasks": scheduler.handlers.tracker.run,
        "tell totals": scheduler.totals.run,
        "archive tasks": scheduler.archivist.run,
        "forget observations": again(OBSERVE_S, scheduler.observer.forget_over, "forget observations"),
        "look at the queue": again(SWEEP_S, placer.look_again, "look at the queue"),
        "explain waits": again(SWEEP_S, scheduler.explainer.explain, "explain waits"),
        "end refused tasks": again(SWEEP_S, scheduler.hopeless.check, "end refused tasks"),
        "expire aims": again(SWEEP_S, scheduler.aimer.expire, "expire aims"),
        "check forwarding": again(SWEEP_S, lambda: forwards.watch(crew), "check forwarding"),
        "lose tasks": again(SWEEP_S, scheduler.loser.watch, "lose tasks"),
        "follow others": scheduler.ledger.follow_others,
        "settle doubts": again(SWEEP_S, scheduler.ledger.settle_doubts, "settle doubts"),
        "fetch options": scheduler.totals.follow_options,
        "drain nodes": again(SWEEP_S, lambda: scheduler.drainer.check(crew), "drain nodes"),
        "clean nodes": again(settings.clean_every_s, lambda: cleaner.tell_nodes(crew), "clean nodes"),
        "forget nodes": again(settings.clean_every_s, cleaner.forget_retired, "forget nodes"),
        "forget tasks": again(FORGET_S, cleaner.forget_old, "forget tasks"),
        "end lost tasks": again(ABSENT_S, scheduler.handlers.absences.check, "end lost tasks"),
    }


@asynccontextmanager
async def running(  # noqa: PLR0913, PLR0917 the world, and who we are in it
    bus: Bus,
    api: NodeApi,
    settings: SchedulerSettings,
    term: Term,
    health: Health,
    clock: Clock | None = None,
    new_id: NewId = new_uuid,
    memory: Memory | None = None,
) -> AsyncIterator[Scheduler]:
    """Read the records, start the loops, and only then answer."""
    clock, memory = clock or SystemClock(), memory or Memory()
    current = await incarnation(bus, clock.wall_ms)
    scheduler = await wired(bus, api, settings, term, clock, new_id)
    await memory.give_back(current.id, scheduler.ledger)
    async with AsyncExitStack() as stack:
        crew = await stack.enter_async_context(Crew(CREW_COUNT))
        for name, start in loops(scheduler, settings, crew).items():
            late_after_s = LATE_AFTER_S if name in GO_ROUND else None
            await stack.enter_async_context(background(start, name, late_after_s=late_after_s))
        await stack.enter_async_context(served(bus, scheduler.handlers, health, term))
        try:
            yield scheduler
        finally:
            memory.keep(current.id, scheduler.ledger)
