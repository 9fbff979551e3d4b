"""What is written of machines' lives in a whole cluster, as it is written, so that a test can act at a step."""

from collections.abc import Callable

from clusterodm.libs.common.messages.buckets import MACHINES
from clusterodm.libs.common.model.machines import Machine
from tests.cluster import Cluster
from tests.waiting import until

CREATED = "created"
"""The provider has the machine, its answer is still to come: no state of a record."""
STEPS = ("requested", "creating", CREATED, "setting-up", "online", "busy", "draining", "destroying")


class Records:
    """The states that any machine has been in, in their order."""

    def __init__(self) -> None:
        self.states: list[str] = []

    async def follow(self, cluster: Cluster) -> None:
        async with (await cluster.bus.bucket(MACHINES)).watch() as changes:
            async for change in changes:
                if change and change.value:
                    self.states += self.new(change.value)

    def new(self, machine: Machine) -> list[str]:
        told = ["requested", *(moment.text.partition(":")[0] for moment in machine.timeline)]
        return [state for state in told if state not in self.states]

    async def reached(self, step: str, is_created: Callable[[], bool]) -> None:
        """Wait until a step has begun, or has been passed over: a task that ends while nobody looks leaves no machine draining."""
        if step == CREATED:
            await until(is_created, timeout_s=30, what=step)
            return
        late = (*STEPS[STEPS.index(step) :], "gone")
        seen = self.states
        await until(lambda: any(each in seen for each in late), timeout_s=30, step_s=0.002, what=f"{step} {seen}")
