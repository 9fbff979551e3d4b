"""What acts while this process leads: read and put together when a term begins, at work until it is over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.ports import Bus, Term
from clusterodm.libs.common.process.loops import background
from clusterodm.services.autoscaler.boot_lines import BootLines
from clusterodm.services.autoscaler.boot_logs.handlers import BootLogs
from clusterodm.services.autoscaler.cluster.handlers import SchedulerClient, TaskMirror
from clusterodm.services.autoscaler.commands import Commands
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.identity.handlers import ClusterIdentity
from clusterodm.services.autoscaler.machines.api import MachineHandlers, machines_of
from clusterodm.services.autoscaler.machines.handlers.node_queries import NodeProbe
from clusterodm.services.autoscaler.machines.handlers.order_factory import OrderFactory
from clusterodm.services.autoscaler.planning.handlers.planner import Planner
from clusterodm.services.autoscaler.planning.handlers.run_times import RunTimeStore
from clusterodm.services.autoscaler.providers.handlers import ProviderRegistry
from clusterodm.services.autoscaler.providers.ports import Sleep
from clusterodm.services.autoscaler.readings import Observed
from clusterodm.services.autoscaler.records import MachineEventPublisher, MachineStore, Transitions
from clusterodm.services.autoscaler.results.handlers import ResultFinder
from clusterodm.services.autoscaler.server import Answering

FIRST_RETRY_S: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class Autoscaler:
    """What acts in one term."""

    store: MachineStore
    tasks: TaskMirror
    identity: ClusterIdentity
    machines: MachineHandlers
    planner: Planner
    commands: Commands
    boot_logs: BootLogs

    def observed(self, configuration: Configuration) -> Observed:
        """Say what is known now, for who scrapes."""
        return Observed(
            providers=tuple(configuration.parts),
            limits=configuration.limits,
            machines=self.store.alive(),
            history=self.store.history,
            demand=self.planner.demand,
            unmet_count=len(self.planner.last.waits),
            paused=bool(self.identity.paused),
            trouble=bool(self.planner.last.trouble),
        )

    def answering(self, results: ResultFinder) -> Answering:
        """Say who answers what is asked over the bus."""
        return Answering(self.commands, self.boot_logs, self.planner, results)

    @asynccontextmanager
    async def at_work(self, compare_s: float, plan_s: float) -> AsyncIterator[None]:
        """Start everything: what was under way first, then the comparison with the provider and the plans."""
        async with (
            background(self.tasks.watch, "follow tasks"),
            background(self.boot_logs.keep, "keep boot logs"),
            self.machines.at_work(compare_s),
            self.planner.at_work(plan_s),
        ):
            yield


async def assembled(  # noqa: PLR0913 the world, piece by piece
    *,
    configuration: Configuration,
    bus: Bus,
    clock: Clock,
    providers: ProviderRegistry,
    probe: NodeProbe,
    identity: ClusterIdentity,
    public_url: str,
    term: Term,
    first_retry_s: float = FIRST_RETRY_S,
    sleep: Sleep = asyncio.sleep,
) -> Autoscaler:
    """Read the records, and put together whatever acts on them."""
    changed, compared, boot_lines = asyncio.Event(), asyncio.Event(), BootLines()
    await identity.learn()
    store, scheduler, tasks = (
        await MachineStore.open(bus),
        await SchedulerClient.open(bus),
        await TaskMirror.open(bus, changed.set),
    )
    events = MachineEventPublisher(bus, clock)
    transitions = Transitions(store, events, clock, changed.set)
    machines = machines_of(
        configuration=configuration,
        orders=OrderFactory(configuration, identity, public_url, boot_lines),
        providers=providers,
        probe=probe,
        identity=identity,
        scheduler=scheduler,
        tasks=tasks,
        store=store,
        transitions=transitions,
        events=events,
        clock=clock,
        changed=changed,
        compared=compared,
        term=term,
        first_retry_s=first_retry_s,
        sleep=sleep,
    )
    planner = Planner(
        limits=configuration.limits,
        bus=bus,
        clock=clock,
        store=store,
        transitions=transitions,
        scheduler=scheduler,
        tasks=tasks,
        identity=identity,
        machines=machines,
        changed=changed,
        compared=compared,
        term=term,
        run_times=await RunTimeStore.open(bus, clock),
    )
    commands = Commands(
        configuration=configuration,
        providers=providers,
        store=store,
        identity=identity,
        machines=machines,
        planner=planner,
        clock=clock,
    )
    return Autoscaler(
        store=store,
        tasks=tasks,
        identity=identity,
        machines=machines,
        planner=planner,
        commands=commands,
        boot_logs=BootLogs(bus, configuration, store, machines.orders, clock, boot_lines),
    )
