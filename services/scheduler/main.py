"""Wires the scheduler, and does nothing else."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog

from libs.common.bus import connect
from libs.common.lifecycle import Crew, background, every, now_ms, run
from libs.common.log import configure
from libs.common.nodeodm import NodeClient
from libs.common.ports import Bus
from libs.common.settings import parse
from services.scheduler.adapters.nodeodm import NodeODMNodes
from services.scheduler.api import SERVICE, Handlers, served
from services.scheduler.core.board import Board
from services.scheduler.handlers.actions import ActionHandlers
from services.scheduler.handlers.calm import calm
from services.scheduler.handlers.cleaning import Cleaner
from services.scheduler.handlers.commits import CommitHandlers
from services.scheduler.handlers.forwarding import ForwardHandlers
from services.scheduler.handlers.ledger import Ledger
from services.scheduler.handlers.losing import Loser
from services.scheduler.handlers.nodes import NodeHandlers
from services.scheduler.handlers.placing import Placer
from services.scheduler.handlers.probing import Prober
from services.scheduler.handlers.reading import ReadHandlers
from services.scheduler.handlers.totals import Totals
from services.scheduler.handlers.tracking import Tracker
from services.scheduler.handlers.voice import Voice
from services.scheduler.ports import Clock, NewId, NodeApi
from services.scheduler.settings import SchedulerSettings

PROG: Final = f"clusterodm {SERVICE}"
CREW_COUNT: Final = 64
SWEEP_S: Final = 0.5
FORGET_S: Final = 60.0

log = structlog.get_logger()


def main(argv: Sequence[str]) -> int:
    """Run the scheduler until it is told to stop; the exit code."""
    settings = parse(SchedulerSettings, argv, PROG)
    configure(SERVICE, settings.log_level, as_json=settings.log_json, debug=settings.debug)
    return run(serve(settings), PROG)


async def serve(settings: SchedulerSettings) -> None:
    """Wire the scheduler to the real world and serve until cancelled."""
    async with (
        connect(
            settings.nats_url, SERVICE, wait_s=settings.nats_wait_s, replicas_count=settings.nats_replicas_count
        ) as bus,
        NodeClient() as client,
        running(bus, NodeODMNodes(client), settings),
    ):
        log.info("scheduler is ready")
        await asyncio.Event().wait()


@asynccontextmanager
async def running(
    bus: Bus,
    api: NodeApi,
    settings: SchedulerSettings,
    clock: Clock = now_ms,
    new_id: NewId = lambda: str(uuid.uuid4()),
) -> AsyncIterator[Handlers]:
    """Read the records, start the loops, and only then answer."""
    board = Board(grant_ms=round(settings.grant_s * 1000), send_ahead_count=settings.send_ahead_count)
    ledger = await Ledger.open(bus, board, clock)
    totals = await Totals.open(ledger, bus, api, settings)
    voice = Voice(bus, clock)
    prober = Prober(ledger, api, voice, settings)
    placer = Placer(ledger, bus, voice, new_id)
    tracker = Tracker(ledger, api, voice, settings)
    cleaner = Cleaner(ledger, api, settings)
    forwards = ForwardHandlers(ledger, api, voice, placer, prober, settings)
    loser = Loser(ledger, tracker, settings)
    handlers = Handlers(
        nodes=NodeHandlers(ledger, prober, voice),
        commits=CommitHandlers(ledger, placer, api, voice, settings),
        placer=placer,
        forwards=forwards,
        actions=ActionHandlers(ledger, cleaner, api, voice, settings),
        reads=ReadHandlers(ledger, api, settings),
        tracker=tracker,
    )
    async with AsyncExitStack() as stack:
        crew = await stack.enter_async_context(Crew(CREW_COUNT))
        loops = {
            "probe nodes": prober.run(),
            "place tasks": placer.run(),
            "track tasks": tracker.run(),
            "tell totals": totals.run(),
            "expire promises": every(SWEEP_S, calm(placer.look_again, "expire promises"), "expire promises"),
            "check forwarding": every(
                SWEEP_S, calm(lambda: forwards.check(crew), "check forwarding"), "check forwarding"
            ),
            "lose tasks": every(SWEEP_S, calm(loser.check, "lose tasks"), "lose tasks"),
            "settle doubts": every(SWEEP_S, calm(ledger.settle_doubts, "settle doubts"), "settle doubts"),
            "fetch options": every(SWEEP_S, calm(totals.refresh_options, "fetch options"), "fetch options"),
            "clean nodes": every(
                settings.clean_every_s, calm(lambda: cleaner.tell_nodes(crew), "clean nodes"), "clean nodes"
            ),
            "forget tasks": every(FORGET_S, calm(cleaner.forget_old, "forget tasks"), "forget tasks"),
            "forget nodes": every(settings.clean_every_s, calm(cleaner.forget_retired, "forget nodes"), "forget nodes"),
        }
        for name, loop in loops.items():
            await stack.enter_async_context(background(loop, name))
        await stack.enter_async_context(served(bus, handlers))
        yield handlers
