"""The work of a machine's states: begin, create, set up, destroy. Each may be done twice (machine_life/life.py says why).

Time limits come from the configuration; what exceeds one is destroyed, because nobody knows what is there.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

import msgspec
import structlog

from clusterodm.libs.common.clocks import Clock, WallMs
from clusterodm.libs.common.errors import BusFailed, ClusterError, Conflict, ProviderFailed, Refused, Trouble
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.nodes import NodeInfo
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.process.lifecycle import cancel_and_wait, mention_failure, monotonic_s
from clusterodm.services.autoscaler.cluster.handlers import SchedulerClient
from clusterodm.services.autoscaler.config.core.configuration import Configuration, StepTimeouts
from clusterodm.services.autoscaler.machine_life.life import MachineStep, came_to_nothing, may_exist
from clusterodm.services.autoscaler.machines.core import boots_within_s, facts_of, gone_at_ms, left_by, was_adopted
from clusterodm.services.autoscaler.machines.handlers.node_queries import NodeQueries
from clusterodm.services.autoscaler.machines.handlers.order_factory import OrderFactory
from clusterodm.services.autoscaler.orders import ProviderMachine, Removal, RemovalFailed
from clusterodm.services.autoscaler.providers.handlers import ProviderRegistry
from clusterodm.services.autoscaler.providers.ports import Sleep
from clusterodm.services.autoscaler.records import MachineEventPublisher, MachineStore, Transitions

log = structlog.get_logger()

PROBE_EVERY_S: Final = 1.0
UNSEEN: Final = "the provider may have it still"
"""What a record says of a machine that has ended, and that nobody here can look for at the provider."""
AT_WORK_PAUSE_S: Final = 15.0
"""How long until a set-up is tried again whose machine stays, because its node is at work."""
SCHEDULER_WAIT_S: Final = 30.0
"""How long a scheduler that is away holds up a destruction: its own grace finds a node that is gone."""


class StateWork:
    """What is done for a machine in each of the states that have work."""

    def __init__(  # noqa: PLR0913 what it works with, and how it waits
        self,
        *,
        configuration: Configuration,
        providers: ProviderRegistry,
        scheduler: SchedulerClient,
        orders: OrderFactory,
        node_queries: NodeQueries,
        store: MachineStore,
        transitions: Transitions,
        events: MachineEventPublisher,
        clock: Clock,
        first_retry_s: float,
        sleep: Sleep,
    ) -> None:
        self._configuration = configuration
        self._providers = providers
        self._scheduler = scheduler
        self._orders = orders
        self._node_queries = node_queries
        self._store = store
        self._transitions = transitions
        self._events = events
        self._clock = clock
        self._first_retry_s = first_retry_s
        self._sleep = sleep
        self._gone_at_ms: dict[MachineId, WallMs] = {}
        """Since when those cost nothing that are being destroyed. A restart forgets it: then it counts until it is seen again that they have gone."""
        self._not_called: set[MachineId] = set()
        """Those that were begun here, and whose provider has not been called."""
        self._by_state = {
            MachineState.REQUESTED: self._begin,
            MachineState.CREATING: self._create,
            MachineState.SETTING_UP: self._set_up,
            MachineState.DESTROYING: self._destroy,
        }

    async def do(self, machine: Machine) -> None:
        """Do it once. Raises BusFailed, Conflict; and ProviderFailed, only from destroying: until it is confirmed."""
        await self._by_state[machine.state](machine)

    async def note_removal(self, machine: MachineId, error: ProviderFailed) -> None:
        """Keep what a try to destroy has failed with, apart from what the creation has failed with."""
        known = self._store.get(machine)
        if known is None or known.state is not MachineState.DESTROYING:
            return
        seen = left_by(known, error, self._clock.wall_ms()) if came_to_nothing(known) else {}
        with contextlib.suppress(BusFailed, Conflict):  # the next try tells it
            await self._transitions.note(
                known, removal_failure=error.message, removal_trouble=str(error.trouble), **seen
            )

    async def _begin(self, machine: Machine) -> None:
        called_at_ms = self._clock.wall_ms()
        if await self._transitions.step(machine.id, MachineStep.BEGIN, machine.reason, called_at_ms=called_at_ms):
            self._not_called.add(machine.id)

    async def _create(self, machine: Machine) -> None:
        order = replace(self._orders.order(machine), asked_before=machine.id not in self._not_called)
        self._not_called.discard(machine.id)
        try:
            async with limited(self._timeouts(machine).create_s, "creating"):
                found = await self._providers.of(machine.provider).create(order)
        except ProviderFailed as error:
            await self._fail(machine, error)
        else:
            await self._transitions.step(
                machine.id,
                MachineStep.CREATED,
                "the provider has it",
                created_at_ms=self._clock.wall_ms(),
                **facts_of(found),
            )

    async def _set_up(self, machine: Machine) -> None:
        if was_adopted(machine) and await self._node_queries.info(machine) is None:
            return await self._wait_for_answer(machine)
        try:
            if not was_adopted(machine):
                found = await self._have_set_up(machine)
                machine = await self._transitions.note(machine, **facts_of(found))
            async with limited(self._timeouts(machine).online_s, "waiting for its node"):
                info = await self._online(machine)
            node = await self._scheduler.register(machine, self._orders.token(machine))
        except ProviderFailed as error:
            return await self._fail(machine, error)
        except Refused as error:
            return await self._fail(machine, ProviderFailed(error.message, Trouble.REFUSED))
        await self._transitions.step(
            machine.id,
            MachineStep.READY,
            "its node answers",
            node=node,
            online_at_ms=self._clock.wall_ms(),
            **self._orders.learned(machine, info),
        )
        return None

    async def _have_set_up(self, machine: Machine) -> ProviderMachine:
        known = ProviderMachine(name=machine.id, ref=machine.ref, address=machine.hostname, port=machine.port)
        async with limited(self._timeouts(machine).set_up_s, "setting it up"):
            return await self._providers.of(machine.provider).set_up(self._orders.order(machine), known)

    async def _wait_for_answer(self, machine: Machine) -> None:
        """Ask the node of a machine that nobody knew, first for as long as tasks may wait for it, then without anything being counted on it.

        Only one that does not answer as long as a boot may take is destroyed. That is no failed creation: nobody here has ordered it.
        """
        timeouts = self._timeouts(machine)
        most_s = timeouts.set_up_s if machine.silent else boots_within_s(timeouts)
        async with self._being_set_up(machine):
            heard = await self._node_queries.first_answer(machine, most_s)
        if heard is not None or not machine.silent:
            await self._store.write(machine, msgspec.structs.replace(heard or machine, silent=heard is None))
            return
        reason = f"nobody knows it, and its node has not answered for {most_s} s"
        await self._events.leaked(msgspec.structs.replace(machine, reason=reason))
        await self._transitions.step(machine.id, MachineStep.STOP, reason)

    @contextlib.asynccontextmanager
    async def _being_set_up(self, machine: Machine) -> AsyncIterator[None]:
        """Do meanwhile what whoever has ordered a machine may not have come to. Not where its key is lost: anybody could make the token of such a node."""
        if not self._orders.knows_key(machine):
            yield
            return
        setting_up = asyncio.get_running_loop().create_task(self._try_to_set_up(machine), name=f"set up {machine.id}")
        setting_up.add_done_callback(mention_failure)
        try:
            yield
        finally:
            await cancel_and_wait(setting_up)

    async def _try_to_set_up(self, machine: Machine) -> None:
        try:
            await self._have_set_up(machine)
        except ProviderFailed as error:  # it is asked on: only what its node says counts
            log.info("machine.not_set_up", machine=machine.id, reason=error.message)

    async def _online(self, machine: Machine) -> NodeInfo:
        if not machine.hostname:
            raise ProviderFailed("the machine has no address")
        while True:
            if info := await self._node_queries.info(machine):
                return info
            await self._sleep(PROBE_EVERY_S)

    async def _fail(self, machine: Machine, error: ProviderFailed) -> None:
        log.warning("machine.failed", machine=machine.id, reason=error.message, trouble=str(error.trouble))
        if await self._node_queries.has_tasks(machine):
            log.warning("machine.kept", machine=machine.id, because="its node is at work")
            return await self._sleep(AT_WORK_PAUSE_S)
        if was_adopted(machine):  # that says nothing of what is ordered next
            await self._transitions.step(machine.id, MachineStep.STOP, f"it is of no use: {error.message}")
            return None
        await self._transitions.step(
            machine.id,
            MachineStep.STOP,
            "it did not come up",
            failure=error.message,
            trouble=str(error.trouble),
            may_be_left=error.leaves,
            failed_at_ms=self._clock.wall_ms(),
            **left_by(machine, error, self._clock.wall_ms()),
        )
        return None

    async def _destroy(self, machine: Machine) -> None:
        """Destroy what may exist. What was seen of it once counts, and costs, until the provider confirms that it is gone."""
        await self._remove_node(machine)
        removal = Removal(was_there=False)
        if may_exist(machine):
            machine = await self._seen(machine)
            removal = await self._removed(machine)
        if removal.unseen:
            log.warning("machine.not_seen", machine=machine.id, ref=machine.ref, reason=removal.unseen)
        await self._transitions.step(
            machine.id,
            MachineStep.CONFIRM,
            f"{machine.reason}; {UNSEEN}: {removal.unseen}" if removal.unseen else machine.reason,
            tasks=(),
            never_was=came_to_nothing(machine) and not removal,
            removal_taken_at_ms=self._gone_at_ms.get(machine.id),
            removal_failure="",
            removal_trouble="",
        )
        self._gone_at_ms.pop(machine.id, None)

    async def _removed(self, machine: Machine) -> Removal:
        """Have it removed. When it went stays known where a try fails after that; of one that does not say how far it came nothing is."""
        before_ms = self._gone_at_ms.pop(machine.id, None)
        try:
            async with limited(self._timeouts(machine).destroy_s, "destroying"):
                removal = await self._providers.of(machine.provider).destroy(machine.id, self._ref(machine))
        except RemovalFailed as error:
            if before_ms is not None or error.so_far:  # a list that has never shown it may be late
                self._keep(machine, gone_at_ms(error.so_far, before_ms, self._clock.wall_ms()))
            raise
        self._keep(machine, gone_at_ms(removal, before_ms, self._clock.wall_ms()))
        return removal

    def _keep(self, machine: Machine, at_ms: WallMs | None) -> None:
        if at_ms is not None:
            self._gone_at_ms[machine.id] = at_ms

    async def _seen(self, machine: Machine) -> Machine:
        """Note that it exists where nobody has said so yet, before it is destroyed: from then on it has cost."""
        if not came_to_nothing(machine):
            return machine
        try:
            found = await self._providers.of(machine.provider).inspect(machine.id, self._ref(machine))
        except ProviderFailed:
            return machine  # destroying it comes first
        return await self._transitions.note(machine, seen_at_ms=self._clock.wall_ms()) if found else machine

    def _ref(self, machine: Machine) -> str:
        """Give the provider's id of a machine; that of another provider means nothing to this one."""
        return machine.ref if machine.provider in self._providers else ""

    def _timeouts(self, machine: Machine) -> StepTimeouts:
        return self._configuration.part(machine.provider).timeouts

    async def _remove_node(self, machine: Machine) -> None:
        """Take the node off the list first, so that nothing is sent to a machine that goes."""
        deadline_s = monotonic_s() + SCHEDULER_WAIT_S
        while True:
            try:
                return await self._scheduler.remove_node(machine, machine.reason)
            except BusFailed as error:
                if monotonic_s() > deadline_s:
                    log.warning("node.removal_failed", machine=machine.id, reason=error.message)
                    return None
                await self._sleep(self._first_retry_s)
            except ClusterError as error:
                log.warning("node.removal_failed", machine=machine.id, reason=error.message)
                return None


@contextlib.asynccontextmanager
async def limited(seconds: float, what: str) -> AsyncIterator[None]:
    """Give something a time limit; what exceeds it has an unknown outcome."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ProviderFailed(f"{what} took longer than {seconds:g} s", Trouble.UNKNOWN_OUTCOME) from None
