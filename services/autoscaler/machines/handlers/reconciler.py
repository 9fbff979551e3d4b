"""Compares the records with the provider's own list: at the start, and every few minutes. The list's word counts.

    ours by its name, and no record           → into use when its node answers to us; destroyed when that is silent as long as a boot takes
    ours, and its record has ended            → it is back: destroyed, and it counts and costs until it has gone
    another of a name that we know            → removed
    a record says that it is there, the list does not → it is lost: its tasks get a new attempt
    the provider is about to take it away (spot)      → the same, while it is still there
    a spot machine stands still                       → the same: some clouds stop what others take away

*Ours* is what bears any id that was ever ours (identity/handlers.py), or that a node or a task of ours names. machines/core.py says
what follows from a list; what no list may decide alone is looked at a second time here, by name and id: one that is missing, and one
that is back. What a list shows twice is there, whatever a look by name says.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import structlog

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import BusFailed, Conflict, ProviderFailed
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.tasks import Moment
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.process.loops import missed
from clusterodm.services.autoscaler.cluster.handlers import SchedulerClient, TaskMirror
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.identity.core import NAMEABLE, prefix
from clusterodm.services.autoscaler.identity.handlers import ClusterIdentity
from clusterodm.services.autoscaler.machine_life.history import DAY_MS
from clusterodm.services.autoscaler.machine_life.life import MachineStep
from clusterodm.services.autoscaler.machines.core import compare, may_boot
from clusterodm.services.autoscaler.machines.handlers.controller import MachineController
from clusterodm.services.autoscaler.machines.handlers.node_queries import NodeQueries
from clusterodm.services.autoscaler.machines.handlers.order_factory import OrderFactory
from clusterodm.services.autoscaler.orders import ProviderMachine
from clusterodm.services.autoscaler.providers.handlers import ProviderRegistry
from clusterodm.services.autoscaler.providers.ports import Provider
from clusterodm.services.autoscaler.records import MachineEventPublisher, MachineStore, Transitions

log = structlog.get_logger()

KEPT_MS: Final = DAY_MS + 3_600_000
"""Records of machines that have ended serve the daily budget."""
AGAIN_S: Final = 1.0
"""Between two tries of the first comparison: what it does not find may be rented a second time."""
NOTICE_CHECK_S: Final = 15.0
"""Amazon says two minutes before that it takes a spot instance away; a new attempt is to begin in that time."""


class Reconciler:
    """Records against reality."""

    def __init__(  # noqa: PLR0913 what it compares, and what it acts on
        self,
        *,
        configuration: Configuration,
        providers: ProviderRegistry,
        store: MachineStore,
        transitions: Transitions,
        events: MachineEventPublisher,
        scheduler: SchedulerClient,
        tasks: TaskMirror,
        identity: ClusterIdentity,
        orders: OrderFactory,
        node_queries: NodeQueries,
        controller: MachineController,
        clock: Clock,
        compared: asyncio.Event,
    ) -> None:
        """Take what is compared; `compared` is set when that was done, or a provider did not answer: what can be known of what is there is known by then."""
        self._configuration = configuration
        self._providers = providers
        self._store = store
        self._transitions = transitions
        self._events = events
        self._scheduler = scheduler
        self._tasks = tasks
        self._identity = identity
        self._orders = orders
        self._node_queries = node_queries
        self._controller = controller
        self._clock = clock
        self._compared = compared
        self._doubted: dict[str, set[MachineId]] = {}
        """By provider, those that have ended and that the last list showed, and a look by name did not."""
        self._left_alone: dict[str, list[MachineId]] = {}
        """By provider, what its last list showed that begins like our names and is none."""

    @property
    def left_alone(self) -> list[MachineId]:
        """Name what providers have that is left alone."""
        return sorted({name for names in self._left_alone.values() for name in names})

    async def check(self) -> None:
        """Compare once; the first time until the bus answers. A provider that does not answer is asked again the next time."""
        possible = await self._could_compare()
        while not (possible or self._compared.is_set()):
            await asyncio.sleep(AGAIN_S)
            possible = await self._could_compare()
        self._compared.set()
        await self._forget_old()

    async def _could_compare(self) -> bool:
        """Compare, and say whether that was possible."""
        try:
            await self._store.reload()
            await self._compare()
        except (BusFailed, Conflict) as error:
            log.warning("machines.not_compared", reason=error.message)
            missed(error)
            return False
        return True

    async def _compare(self) -> None:
        await self._identity.learn_from(self._tasks.machines() | await self._scheduler.machines())
        for name, provider in self._providers.items():
            try:
                await self._compare_with(name, provider)
            except ProviderFailed as error:  # the others are compared all the same
                log.warning("machines.not_compared", provider=name, reason=error.message)

    async def _compare_with(self, name: str, provider: Provider) -> None:
        """Compare one provider's list with the records of its machines; those of others are none of its business."""
        before = {machine.id: machine for machine in self._store.all() if machine.provider == name}
        asked_at_ms = self._clock.wall_ms()
        listed = [found for each in self._identity.cluster_ids for found in await provider.list(prefix(each))]
        listed = [found for found in listed if found.name not in self._store.unreadable]
        seen = compare(before, listed, asked_at_ms)
        # first: what else there is to do may fail, or take longer than the notice is given
        for machine, because in seen.leaving:
            await self._lose(machine, f"the provider takes it away: {because}")
        # none was requested meanwhile, nor is another provider's
        strays = [found for found in seen.strays if self._store.get(found.name) is None]
        strays = [found for found in strays if self._configuration.claims(name, found.region)]
        self._leave_alone(name, [found for found in strays if not NAMEABLE.fullmatch(found.name)])
        await self._take_in(name, [found for found in strays if NAMEABLE.fullmatch(found.name)])
        doubted = self._doubted.get(name, set())
        back = [machine for machine, found in seen.back if not await self._took_back(provider, machine, found, doubted)]
        self._doubted[name] = {machine.id for machine in back}
        for found in seen.doubles:
            log.warning("machine.doubled", machine=found.name, ref=found.ref)
            await provider.discard(found)
        for machine in seen.stopped:
            now = await provider.inspect(machine.id, machine.ref)
            if now is not None and not now.running and not await self._node_queries.has_tasks(machine):
                await self._lose(machine, "the provider has stopped this spot machine")
        for machine in seen.missing:
            # a node that is at work is there, whatever a list and a look say
            if await provider.inspect(machine.id, machine.ref) is None and not await self._node_queries.has_tasks(
                machine
            ):
                await self._lose(machine, "the provider has it no more")

    def _leave_alone(self, provider: str, strangers: Sequence[ProviderMachine]) -> None:
        """Tell once of what no record can be called like: somebody has named it so (`... (copy)`), and knows why."""
        before = self._left_alone.get(provider, [])
        self._left_alone[provider] = [found.name for found in strangers]
        for found in strangers:
            if found.name not in before:
                log.warning(
                    "machine.left_alone", machine=found.name, ref=found.ref, reason="no record can be called so"
                )

    async def _take_in(self, provider: str, unknown: Sequence[ProviderMachine]) -> None:
        """Make records of machines that bear our ids and that nobody knows. Their nodes, asked together, say of what use they are."""
        machines = await asyncio.gather(*(self._adopted(provider, found) for found in unknown))
        for machine in machines:
            await self._transitions.add(machine)
            self._controller.ensure_worker(machine.id)

    async def _adopted(self, provider: str, found: ProviderMachine) -> Machine:
        now_ms = self._clock.wall_ms()
        machine = await self._node_queries.locate(self._orders.adopted(provider, found, now_ms))
        answers = await self._node_queries.info(machine) is not None
        reason = f"nobody knew it: {'taken into use' if answers else 'its node is asked'}"
        moment = Moment(at_ms=now_ms, text=f"{machine.state}: found at the provider; {reason}")
        timeouts = self._configuration.part(provider).timeouts
        boots = self._orders.knows_key(machine) and may_boot(found, timeouts, now_ms)
        return msgspec.structs.replace(machine, silent=not (answers or boots), reason=reason, timeline=(moment,))

    async def _took_back(
        self, provider: Provider, machine: Machine, found: ProviderMachine, doubted: Collection[MachineId]
    ) -> bool:
        """Destroy a machine whose record has ended, if it is there: it counts and costs until it has gone."""
        if machine.id not in doubted and await provider.inspect(machine.id, found.ref) is None:
            return False
        reason = "it has ended and is still there"
        now_ms = self._clock.wall_ms()
        called_ms = machine.called_at_ms or found.created_at_ms or now_ms
        await self._transitions.step(
            machine.id,
            MachineStep.REAPPEAR,
            reason,
            ref=found.ref or machine.ref,
            called_at_ms=called_ms,
            seen_at_ms=machine.seen_at_ms or now_ms,
            never_was=False,
        )
        if known := self._store.get(machine.id):
            await self._events.leaked(known)
        self._controller.ensure_worker(machine.id)
        return True

    async def _lose(self, machine: Machine, reason: str) -> None:
        await self._controller.stop(machine.id, reason, interrupted=machine.spot)
        await self._events.lost(machine)

    async def _forget_old(self) -> None:
        oldest_ms = self._clock.wall_ms() - KEPT_MS
        for machine in self._store.all():
            if machine.state.ended and (machine.ended_at_ms or 0) < oldest_ms:
                if machine.node:
                    self._tasks.forget(machine.node)
                await self._store.forget(machine.id)


def interval_s(usual_s: float, *, spot: bool) -> float:
    """Say how often to compare: with spot instances often enough to see every notice."""
    return min(usual_s, NOTICE_CHECK_S) if spot else usual_s
