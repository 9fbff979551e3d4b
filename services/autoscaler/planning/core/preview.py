"""A plan that is only shown: for tasks that might come, and what it would do, in lines."""

from collections import Counter
from collections.abc import Iterator, Sequence

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.messages.machines import ImaginedTasks, PlannedStep
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.machine_life.history import MachineHistory
from clusterodm.services.autoscaler.orders import GIGABYTE
from clusterodm.services.autoscaler.planning.core.observation import PlanInput
from clusterodm.services.autoscaler.planning.core.plan import ScalingPlan, plan


def waiting_of(demand: Sequence[ImaginedTasks], now_ms: WallMs) -> list[WaitingTask]:
    """Make waiting tasks of what might come, all of them now."""
    kinds = [each for each in demand for _ in range(each.count)]
    return [
        WaitingTask(
            task=TaskId(f"imagined {number}"),
            images_count=each.images,
            size_bytes=round(each.gigabytes * GIGABYTE),
            waiting_since_ms=now_ms,
            gpu=each.gpu,
            tenant=each.owner,
            labels=each.labels,
            interruptions_count=each.interruptions,
        )
        for number, each in enumerate(kinds, start=1)
    ]


def planned_alone(limits: ScalingLimits, demand: Sequence[ImaginedTasks], now_ms: WallMs) -> tuple[PlannedStep, ...]:
    """Say what a configuration would do for tasks if there were no machine yet and nothing had been learned."""
    seen = PlanInput(now_ms=now_ms, machines=(), history=MachineHistory(), waiting=waiting_of(demand, now_ms), loads={})
    return steps_of(plan(limits, seen))


def steps_of(decided: ScalingPlan) -> tuple[PlannedStep, ...]:
    """Say what a plan would do, what is the same counted once."""
    counted = Counter(acts(decided))
    return tuple(
        PlannedStep(act=act, what=what, reason=reason, count=count) for (act, what, reason), count in counted.items()
    )


def acts(decided: ScalingPlan) -> Iterator[tuple[str, str, str]]:
    """Name each act, what it is about, and why."""
    for decision in decided.destroy:
        yield "destroy", decision.machine, decision.reason
    for decision in decided.drain:
        yield "drain", decision.machine, decision.reason
    for creation in decided.create:
        yield "create", str(creation.offer), creation.reason
    for told in decided.comes:
        yield "share", "", told.reason
    for told in decided.waits:
        yield "wait", "", told.reason
