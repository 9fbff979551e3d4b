"""Wires the scheduler, and does nothing else.

Any number of schedulers may run. One leads: it reads the records, starts the loops, and answers. The others have connected
and wait to lead. A term that is over ends all of that and the process stands by again (leadership.py). Each of them asks, as
anybody would, whether a leader answers: none is ready while nobody leads.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog

from clusterodm.libs.common.bus.bus import connected
from clusterodm.libs.common.bus.incarnation import incarnation, log_not_read
from clusterodm.libs.common.bus.layout import BUCKETS
from clusterodm.libs.common.clocks import Clock, read
from clusterodm.libs.common.health.health import (
    CHECK_EVERY_S,
    Health,
    NeededServices,
    lead_in_turn,
    reported_as_standby,
)
from clusterodm.libs.common.health.settings_in_force import settings_handler
from clusterodm.libs.common.health.vitals import health_listener, measured, metrics_listener
from clusterodm.libs.common.messages.buckets import CONSOLES, MACHINES, PROXIES, UPLOADS
from clusterodm.libs.common.messages.demand import SUPPLY_CHANGED
from clusterodm.libs.common.messages.health import SCHEDULER_HEALTH, SCHEDULER_SETTINGS
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.placement import FINISH_REPORTED
from clusterodm.libs.common.nodeodm.client import NodeClient
from clusterodm.libs.common.ports import Bus, Handler, Term
from clusterodm.libs.common.process.lifecycle import SystemClock, TaskLimiter, run
from clusterodm.libs.common.process.loops import LATE_AFTER_S, Start, background, every
from clusterodm.libs.common.process.watchdog import with_watchdog
from clusterodm.libs.common.settings.settings import parse
from clusterodm.libs.common.telemetry.log import begin
from clusterodm.libs.common.telemetry.metrics import read_by
from clusterodm.services.scheduler.demand.handlers import ClusterTotals
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.forwarding.api import ForwardingStory, open_forwarding
from clusterodm.services.scheduler.leadership import Leadership
from clusterodm.services.scheduler.node_client.adapters import LeaderGuardedNodes, NodeODMAdapter
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.nodes.api import NodesStory, open_nodes
from clusterodm.services.scheduler.placement.api import PlacementStory, cluster_state, open_placement
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.handlers.place import NewId
from clusterodm.services.scheduler.readings import readings
from clusterodm.services.scheduler.records.adapters import SqliteIndex
from clusterodm.services.scheduler.records.handlers.recovery import LastTerm, Records, open_records
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy
from clusterodm.services.scheduler.tasks.api import TasksStory, open_tasks
from clusterodm.services.scheduler.usage.handlers import UsageAccount

SERVICE: Final = "scheduler"
PROG: Final = f"clusterodm {SERVICE}"
LIMIT_COUNT: Final = 64
KEEP_EVERY_S: Final = 2.0
"""Whether a stream is missing is seen at once when NATS comes back, and so often otherwise."""
GO_ROUND: Final = frozenset({"probe nodes", "track tasks", "tell totals"})
"""Loops that go round by themselves every second or so: they hang when they have not for much longer."""

log = structlog.get_logger()


def new_uuid() -> str:
    """Make an id for an attempt."""
    return str(uuid.uuid4())


def main(argv: Sequence[str]) -> int:
    """Run the scheduler until it is told to stop; the exit code."""
    settings = parse(SchedulerSettings, argv, PROG)
    begin(SERVICE, settings)
    if settings.grant_s is not None:
        log.warning("setting.ignored", setting="grant_s", reason="slots are reserved only for who asks")
    return run(with_watchdog(serve(settings)), PROG)


async def serve(settings: SchedulerSettings) -> None:
    """Wire the scheduler to the real world; stand by and serve, again and again, until cancelled."""
    with health_listener(settings) as health_port, metrics_listener(settings) as metrics_port:
        keep_alive_s = settings.probe_keep_alive_timeout_s
        async with connected(settings, SERVICE) as bus, NodeClient(keep_alive_s=keep_alive_s) as client:
            leader = NeededServices(bus, {"leader": SCHEDULER_HEALTH})
            health = Health(SERVICE, lambda: {"bus": bus.connected}, leader, may_lead=True)
            async with (
                measured(bus, health, settings, metrics_port, health_port),
                reported_as_standby(bus, health),
                background(lambda: every(CHECK_EVERY_S, leader.check, "ask the leader"), "ask the leader"),
                background(lambda: every(KEEP_EVERY_S, bus.keep_laid_out, "keep streams"), "keep streams"),
            ):
                await bus.lay_out()
                await open_all(bus, settings)
                last_term = LastTerm()
                await lead_in_turn(
                    bus,
                    SERVICE,
                    lambda term: lead(bus, NodeODMAdapter(client), settings, term, health, last_term),
                    ttl_s=settings.lease_s,
                )


async def open_all(bus: Bus, settings: SchedulerSettings) -> None:
    """Open what a leader needs while another leads: the bus keeps it, so taking over depends on no call that may fail."""
    for name in (*(each for each in BUCKETS if each.writer == SERVICE), MACHINES, PROXIES, UPLOADS):
        await bus.bucket(name)
    await bus.objects(CONSOLES, settings.task_retention_h * 3600)


async def lead(  # noqa: PLR0913, PLR0917 the world, who we are in it, and what we know of it
    bus: Bus, api: NodeApi, settings: SchedulerSettings, term: Term, health: Health, last_term: LastTerm
) -> None:
    """Read the records, and serve until the term is over."""
    async with running(bus, api, settings, term, health, last_term=last_term) as scheduler:
        log.info("scheduler.started", epoch=term.epoch, tasks=len(scheduler.state.index.tasks))
        await health.check()
        await term.over()


def attempt_policy(settings: SchedulerSettings) -> AttemptPolicy:
    """Read from the settings how often and how soon a task is tried again."""
    return AttemptPolicy(
        max_attempts_count=settings.max_attempts,
        first_backoff_ms=round(settings.retry_first_s * 1000),
        max_backoff_ms=round(settings.retry_longest_s * 1000),
        killer_nodes_count=settings.killer_nodes_count,
    )


@dataclass(frozen=True)
class Scheduler:
    """All stories, opened."""

    state: ClusterState
    records: Records
    placement: PlacementStory
    tasks: TasksStory
    nodes: NodesStory
    forwarding: ForwardingStory
    usage: UsageAccount
    totals: ClusterTotals

    def requests(self) -> dict[Request[Any, Any], Handler]:
        """Name the handler of each request."""
        return (
            self.nodes.requests()
            | self.tasks.requests()
            | self.placement.requests()
            | self.forwarding.requests()
            | self.usage.requests()
        )

    def loops(self, limiter: TaskLimiter, settings: SchedulerSettings) -> dict[str, Start]:
        """Name everything that goes on by itself."""
        return (
            self.nodes.loops(limiter)
            | self.placement.loops()
            | self.tasks.loops(limiter, settings.clean_every_s)
            | self.forwarding.loops(limiter)
            | self.usage.loops()
            | self.totals.loops()
            | self.records.sync.loops()
        )


async def wired(  # noqa: PLR0913, PLR0917 the world, and who we are in it
    bus: Bus, nodes: NodeApi, settings: SchedulerSettings, term: Term, clock: Clock, new_id: NewId
) -> Scheduler:
    """Read the records and open one story after the other; where one needs another, it is given that."""
    leadership, events, policy = Leadership(term), EventPublisher(bus, clock), attempt_policy(settings)
    api = LeaderGuardedNodes(nodes, leadership)
    state = cluster_state(settings)
    records = await open_records(bus, state.index, state.nodes, SqliteIndex(), clock, leadership, state.learn)
    placement = await open_placement(state, records, bus, events, new_id, settings)
    tasks = await open_tasks(records, bus, api, events, placement.placement_loop, policy, settings)
    node_story = open_nodes(records, api, events, state.reservations, tasks.tracker, policy, settings)
    forwarding = open_forwarding(records, api, events, placement.placement_loop, node_story.prober, policy, settings)
    usage = await UsageAccount.open(records, bus, state.shares.name_of)
    totals = await ClusterTotals.open(state, records, bus, api, settings)
    return Scheduler(state, records, placement, tasks, node_story, forwarding, usage, totals)


@asynccontextmanager
async def served(
    bus: Bus, scheduler: Scheduler, health: Health, term: Term, settings: SchedulerSettings
) -> AsyncIterator[None]:
    """Answer and listen while the context is open and the term lasts."""
    beside: dict[Request[Any, Any], Handler] = {
        SCHEDULER_HEALTH: health.answer,
        SCHEDULER_SETTINGS: settings_handler(SERVICE, settings),
    }
    placement_loop = scheduler.placement.placement_loop
    async with (
        bus.subscribe(FINISH_REPORTED, scheduler.tasks.tracker.hint),
        bus.watch_snapshot(SUPPLY_CHANGED, durable=SERVICE, handler=placement_loop.take_supply),
        bus.serve(SERVICE, scheduler.requests() | beside, term=term),
    ):
        try:
            yield
        finally:
            placement_loop.close()


@asynccontextmanager
async def running(  # noqa: PLR0913, PLR0917 the world, and who we are in it
    bus: Bus,
    api: NodeApi,
    settings: SchedulerSettings,
    term: Term,
    health: Health,
    clock: Clock | None = None,
    new_id: NewId = new_uuid,
    last_term: LastTerm | None = None,
) -> AsyncIterator[Scheduler]:
    """Read the records, start the loops, and only then answer."""
    clock, last_term = clock or SystemClock(), last_term or LastTerm()
    current = await incarnation(bus, clock.wall_ms)
    store = current.id if current else None
    if store is None:
        log_not_read()
    scheduler = await wired(bus, api, settings, term, clock, new_id)
    await last_term.give_back(store, scheduler.records)
    async with AsyncExitStack() as stack:
        stack.enter_context(health.leading(term))
        stack.enter_context(read_by(lambda: readings(scheduler.state, scheduler.totals.demand, read(clock))))
        limiter = await stack.enter_async_context(TaskLimiter(LIMIT_COUNT))
        for name, start in scheduler.loops(limiter, settings).items():
            late_after_s = LATE_AFTER_S if name in GO_ROUND else None
            await stack.enter_async_context(background(start, name, late_after_s=late_after_s))
        await stack.enter_async_context(served(bus, scheduler, health, term, settings))
        try:
            yield scheduler
        finally:
            last_term.keep(store, scheduler.records)
