"""What operators ask: status, list, destroy, pause, resume, and which command would start a machine."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.messages.machines import (
    AutoscalerStatus,
    BootFailureHeard,
    BudgetStatus,
    CommandView,
    DestroyMachine,
    GetAutoscalerStatus,
    ListMachines,
    MachineList,
    MachineView,
    PauseAutoscaler,
    PlanMachines,
    PlannedMachines,
    ProviderStatus,
    ReportBootFailure,
    ResumeAutoscaler,
    ViewCommand,
)
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.autoscaler.config.core.configuration import Configuration, ProviderLimits
from clusterodm.services.autoscaler.identity.handlers import ClusterIdentity
from clusterodm.services.autoscaler.machine_life.life import age_ms
from clusterodm.services.autoscaler.machines.api import MachineHandlers
from clusterodm.services.autoscaler.orders import Creation, Offer, masked
from clusterodm.services.autoscaler.planning.core.budget import (
    OwnerSpending,
    cost,
    cost_of_last_day,
    cost_per_hour,
    of_owners,
)
from clusterodm.services.autoscaler.planning.core.kept_results import kept, kept_because
from clusterodm.services.autoscaler.planning.core.offer_fallback import clock_time
from clusterodm.services.autoscaler.planning.core.preview import steps_of
from clusterodm.services.autoscaler.planning.core.sizing import fitting_sizes, why_none
from clusterodm.services.autoscaler.planning.handlers.planner import Planner
from clusterodm.services.autoscaler.providers.core.catalogue import CheckOutcome
from clusterodm.services.autoscaler.providers.core.order_words import secrets_of
from clusterodm.services.autoscaler.providers.handlers import ProviderRegistry
from clusterodm.services.autoscaler.records import MachineStore

NOT_CONFIGURED = "no autoscaler is configured (start with --asr FILE)"
MOST_WAITS = 100
"""Reasons that a status holds; they repeat each other."""


class NotConfigured:
    """The answers of an autoscaler without a configuration."""

    async def status(self, _request: GetAutoscalerStatus) -> AutoscalerStatus:
        """Say that there is none."""
        return AutoscalerStatus(enabled=False, reason=NOT_CONFIGURED)

    async def list_machines(self, _request: ListMachines) -> MachineList:
        """List nothing."""
        return MachineList(machines=())

    async def refuse(self, _request: object) -> AutoscalerStatus:
        """Refuse everything else."""
        raise Refused(NOT_CONFIGURED)


class Commands:
    """The answers."""

    def __init__(  # noqa: PLR0913 what it shows, and what it acts on
        self,
        *,
        configuration: Configuration,
        providers: ProviderRegistry,
        store: MachineStore,
        identity: ClusterIdentity,
        machines: MachineHandlers,
        planner: Planner,
        clock: Clock,
    ) -> None:
        self._configuration = configuration
        self._providers = providers
        self._store = store
        self._identity = identity
        self._orders = machines.orders
        self._controller = machines.controller
        self._reconciler = machines.reconciler
        self._planner = planner
        self._clock = clock

    async def status(self, _request: GetAutoscalerStatus) -> AutoscalerStatus:
        """Say what is going on."""
        return self._status()

    async def list_machines(self, request: ListMachines) -> MachineList:
        """List machines: those that exist, in the order of their requests, then those that have ended."""
        return MachineList(machines=tuple(self._views(ended=request.ended)))

    async def destroy(self, request: DestroyMachine) -> MachineView:
        """Destroy a machine."""
        view = next((each for each in self._views(ended=False) if each.machine.id == request.machine), None)
        if view is None:
            raise NotFound(f"There is no machine {request.machine}")
        if view.machine.state is MachineState.DESTROYING:
            await self._controller.retry_now(request.machine)
            return msgspec.structs.replace(view, told=tried_again(view.machine))
        await self._controller.stop(request.machine, request.reason)
        return next((each for each in self._views(ended=True) if each.machine.id == request.machine), view)

    async def boot_failed(self, request: ReportBootFailure) -> BootFailureHeard:
        """Give a machine up whose boot has failed. What it says may hold what it was given, and is shown to people."""
        machine = self._store.get(request.machine)
        if machine is None or machine.state.ended:
            return BootFailureHeard(destroyed=False)
        secrets = (*self._configuration.secrets, *secrets_of(self._orders.order(machine).launch))
        words = masked(request.last_words, secrets)
        return BootFailureHeard(destroyed=await self._controller.boot_failed(machine.id, words, self._clock.wall_ms()))

    async def pause(self, request: PauseAutoscaler) -> AutoscalerStatus:
        """Start no more machines."""
        await self._identity.pause(request.reason)
        return self._status()

    async def resume(self, _request: ResumeAutoscaler) -> AutoscalerStatus:
        """Start machines again."""
        await self._identity.resume()
        return self._status()

    async def plan(self, request: PlanMachines) -> PlannedMachines:
        """Say what would be done now, for the tasks that wait or for others; nothing is."""
        return PlannedMachines(steps=steps_of(await self._planner.preview(request.demand)))

    async def view_command(self, request: ViewCommand) -> CommandView:
        """Show how a machine for so many images would be made; the machine is a made-up one."""
        limits = self._configuration.limits
        task = WaitingTask(task=TaskId("debug"), images_count=request.images_count)
        sizes = fitting_sizes(task, limits, {})
        if not sizes:
            raise Refused(why_none(task, limits))
        creation = Creation(
            offer=Offer(size=sizes[0], region=limits.of(sizes[0].provider).regions[0]),
            images_count=request.images_count,
            for_task=None,
            reason="asked for by an operator",
        )
        machine = self._orders.machine(creation, self._clock.wall_ms(), "shown")
        return CommandView(command=await self._providers.of(machine.provider).command(self._orders.order(machine)))

    def _views(self, *, ended: bool) -> list[MachineView]:
        now_ms = self._clock.wall_ms()
        machines = self._store.all()
        listed = [each for each in machines if not each.state.ended]
        if ended:
            listed += [each for each in machines if each.state.ended]
        return [
            MachineView(
                number=number,
                machine=each,
                age_ms=age_ms(each, now_ms),
                cost=round(cost(each, now_ms), 4),
                kept=kept_because(self._configuration.limits, each, now_ms),
                kept_until_ms=kept(self._configuration.limits, each, now_ms),
            )
            for number, each in enumerate(listed, start=1)
        ]

    def _status(self) -> AutoscalerStatus:
        alive, spending = self._store.alive(), self._store.history.spending
        demand, decided = self._planner.demand, self._planner.last
        checks = self._file_checks()
        return AutoscalerStatus(
            enabled=True,
            reason=self._identity.paused or decided.trouble or summary(alive),
            demand_count=demand.waiting_count if demand else 0,
            demand_at_ms=demand.at_ms if demand else None,
            provider=self._configuration.provider,
            paused=self._identity.facts.paused,
            machines_limit_count=self._configuration.limits.machines_count,
            states=dict(Counter(str(each.state) for each in alive)),
            cost_per_hour=round(cost_per_hour(alive), 4),
            cost_last_day=round(cost_of_last_day(alive, spending, self._clock.wall_ms()), 4),
            max_hourly_cost=self._configuration.limits.max_hourly_cost,
            max_daily_cost=self._configuration.limits.max_daily_cost,
            waits=decided.waits[:MOST_WAITS],
            trouble=decided.trouble,
            budgets=tuple(
                budget_status(each)
                for each in of_owners(self._configuration.limits, alive, self._store.history, self._clock.wall_ms())
            ),
            providers=tuple(self._of_provider(each, alive) for each in self._configuration.limits.providers),
            file_check="; ".join(f"{name}{outcome}" for name, outcome in checks),
            file_mistakes=tuple(f"{name}{words}" for name, outcome in checks for words in outcome.findings.mistakes),
            left_alone=tuple(self._reconciler.left_alone[:MOST_WAITS]),
        )

    def _file_checks(self) -> list[tuple[str, CheckOutcome]]:
        """Give what providers say of the file, each with the beginning of its line; not every one is tried."""
        found = ((name, getattr(provider, "file_check", None)) for name, provider in self._providers.items())
        several = len(self._providers) > 1
        return [(f"{name}: " if several else "", outcome) for name, outcome in found if outcome is not None]

    def _of_provider(self, own: ProviderLimits, alive: Sequence[Machine]) -> ProviderStatus:
        machines = [machine for machine in alive if machine.provider == own.name]
        return ProviderStatus(
            name=own.name,
            machines_count=len(machines),
            machines_limit_count=own.machines_count,
            cost_per_hour=round(cost_per_hour(machines), 4),
            trouble=self._planner.last.troubles.get(own.name, ""),
        )


def budget_status(spent: OwnerSpending) -> BudgetStatus:
    """Show how an owner stands."""
    return BudgetStatus(
        owner=spent.owner,
        cost_per_hour=round(spent.cost_per_hour, 4),
        cost_last_day=round(spent.cost_last_day, 4),
        max_hourly_cost=spent.allowed.max_hourly_cost,
        max_daily_cost=spent.allowed.max_daily_cost,
    )


def tried_again(machine: Machine) -> str:
    """Say what is done about a machine that is being destroyed already."""
    last = f"; the last try failed: {machine.removal_failure}" if machine.removal_failure else ""
    return f"{machine.id} is being destroyed since {clock_time(machine.state_at_ms)}; it is tried again now{last}"


def summary(alive: list[Machine]) -> str:
    """Say in a line what there is."""
    if not alive:
        return "no machine is needed"
    return f"{len(alive)} machine{'' if len(alive) == 1 else 's'}"
