"""The story of placement: which requests it answers, what it listens to, what goes on by itself, and how it is opened."""

from dataclasses import dataclass
from typing import Any

from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.placement import PLACE_TASK, PLACE_TASKS, PLAN_STAGE_IN
from clusterodm.libs.common.messages.tenants import SET_TENANTS
from clusterodm.libs.common.ports import Bus, Handler
from clusterodm.libs.common.process.loops import Start
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.leadership import repeated
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.handlers.forecasting import Forecaster
from clusterodm.services.scheduler.placement.handlers.place import NewId, PlacementLoop
from clusterodm.services.scheduler.placement.handlers.requests import StageInPlanner
from clusterodm.services.scheduler.placement.handlers.tenants import TenantStore
from clusterodm.services.scheduler.placement.handlers.waits import UnplaceableTasks, WaitExplainer
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.settings import SchedulerSettings


@dataclass(frozen=True)
class PlacementStory:
    """Everything that has to do with waiting tasks and their slots."""

    placement_loop: PlacementLoop
    stage_in: StageInPlanner
    forecaster: Forecaster
    explainer: WaitExplainer
    unplaceable: UnplaceableTasks
    tenants: TenantStore

    def requests(self) -> dict[Request[Any, Any], Handler]:
        """Name the handler of each request."""
        return {
            PLAN_STAGE_IN: self.stage_in.plan,
            PLACE_TASKS: self.placement_loop.place_tasks,
            PLACE_TASK: self.placement_loop.place,
            SET_TENANTS: self.tenants.set_tenants,
        }

    def loops(self) -> dict[str, Start]:
        """Name everything that goes on by itself."""
        return {
            "place tasks": self.placement_loop.run,
            "look at the queue": repeated(self.placement_loop.recheck, "look at the queue"),
            "forecast starts": self.forecaster.run,
            "explain waits": repeated(self.explainer.explain, "explain waits"),
            "end refused tasks": repeated(self.unplaceable.check, "end refused tasks"),
            "expire aims": repeated(self.stage_in.expire, "expire aims"),
        }


def cluster_state(settings: SchedulerSettings) -> ClusterState:
    """Make what the scheduler knows: nothing yet."""
    return ClusterState(
        send_ahead_count=settings.send_ahead_count,
        per_owner_count=settings.tasks_per_owner_count,
        longest_backoff_s=settings.retry_longest_s,
        foresees=settings.placement == "foresight",
        holder_silence_s=settings.holder_silence_s,
    )


async def open_placement(  # noqa: PLR0913, PLR0917 what the story is made of
    state: ClusterState, records: Records, bus: Bus, events: EventPublisher, new_id: NewId, settings: SchedulerSettings
) -> PlacementStory:
    """Put the story together. Raises BusFailed."""
    forecaster = Forecaster(state, records)
    return PlacementStory(
        placement_loop=PlacementLoop(state, records, bus, events, new_id, forecaster),
        forecaster=forecaster,
        stage_in=StageInPlanner(state, records, settings),
        explainer=WaitExplainer(state, records, bus, forecaster.estimates),
        unplaceable=UnplaceableTasks(state, records, events),
        tenants=await TenantStore.open(state, bus, records.leadership, records.signals),
    )
