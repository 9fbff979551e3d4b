"""Machines, as the rest of the autoscaler sees them: put together once a term, and at work while that lasts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.ports import Term
from clusterodm.libs.common.process.loops import background, every
from clusterodm.services.autoscaler.cluster.handlers import SchedulerClient, TaskMirror
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.identity.handlers import ClusterIdentity
from clusterodm.services.autoscaler.machines.handlers.controller import MachineController
from clusterodm.services.autoscaler.machines.handlers.lifecycle import StateWork
from clusterodm.services.autoscaler.machines.handlers.node_queries import NodeProbe, NodeQueries
from clusterodm.services.autoscaler.machines.handlers.order_factory import OrderFactory
from clusterodm.services.autoscaler.machines.handlers.reconciler import Reconciler
from clusterodm.services.autoscaler.providers.handlers import ProviderRegistry
from clusterodm.services.autoscaler.providers.ports import Sleep
from clusterodm.services.autoscaler.records import MachineEventPublisher, MachineStore, Transitions


@dataclass(frozen=True, kw_only=True)
class MachineHandlers:
    """What plans and commands act on."""

    orders: OrderFactory
    node_queries: NodeQueries
    controller: MachineController
    reconciler: Reconciler

    @asynccontextmanager
    async def at_work(self, compare_s: float) -> AsyncIterator[None]:
        """Go on with what was under way, and compare with the provider's list every so often, while the context is open."""
        async with self.controller:
            self.controller.recover()
            async with background(
                lambda: every(compare_s, self.reconciler.check, "compare machines"), "compare machines"
            ):
                yield


def machines_of(  # noqa: PLR0913 what machines depend on
    *,
    configuration: Configuration,
    providers: ProviderRegistry,
    probe: NodeProbe,
    identity: ClusterIdentity,
    orders: OrderFactory,
    scheduler: SchedulerClient,
    tasks: TaskMirror,
    store: MachineStore,
    transitions: Transitions,
    events: MachineEventPublisher,
    clock: Clock,
    changed: asyncio.Event,
    compared: asyncio.Event,
    term: Term,
    first_retry_s: float,
    sleep: Sleep,
) -> MachineHandlers:
    """Put it together. `changed` is set when there may be something to plan, `compared` when what is there is known."""
    node_queries = NodeQueries(probe, providers, orders, store, scheduler, clock, sleep)
    work = StateWork(
        configuration=configuration,
        providers=providers,
        scheduler=scheduler,
        orders=orders,
        node_queries=node_queries,
        store=store,
        transitions=transitions,
        events=events,
        clock=clock,
        first_retry_s=first_retry_s,
        sleep=sleep,
    )
    controller = MachineController(
        store=store,
        transitions=transitions,
        work=work,
        term=term,
        changed=changed.set,
        first_retry_s=first_retry_s,
        sleep=sleep,
    )
    reconciler = Reconciler(
        configuration=configuration,
        providers=providers,
        store=store,
        transitions=transitions,
        events=events,
        scheduler=scheduler,
        tasks=tasks,
        identity=identity,
        orders=orders,
        node_queries=node_queries,
        controller=controller,
        clock=clock,
        compared=compared,
    )
    return MachineHandlers(orders=orders, node_queries=node_queries, controller=controller, reconciler=reconciler)
