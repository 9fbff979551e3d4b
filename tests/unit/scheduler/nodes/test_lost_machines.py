"""When the autoscaler says that a machine goes, what is on it gets a new attempt at once."""

import pytest

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.messages.nodes import AddNode, LoseNode
from clusterodm.libs.common.messages.tasks import AttemptStage, KnownAttempt
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import MachineId, NodeId, NodeTaskId
from tests.scheduling import NOW_MS, FakeNode, Play, a_play, task_id

MACHINE = MachineId("clusterodm-c-9-first")
OTHER = MachineId("clusterodm-c-9-other")
NODE = NodeId("a-3000")


async def loses(play: Play, machine: MachineId | None = MACHINE, node: NodeId | None = NODE) -> None:
    await play.scheduler.nodes.failures.lose(LoseNode(node=node, machine=machine, reason="an operator said so"))


async def comes(play: Play, machine: MachineId, name: str = "a") -> None:
    play.api.nodes[name] = FakeNode()
    await play.scheduler.nodes.commands.add(AddNode(hostname=name, port=3000, machine=machine))
    await play.probes()


def told_again(stage: AttemptStage = AttemptStage.COMMITTED) -> KnownAttempt:
    return KnownAttempt(
        number=1,
        node=NODE,
        hostname="a",
        port=3000,
        node_task_id=NodeTaskId(task_id("one")),
        stage=stage,
        started_at_ms=NOW_MS,
        running_at_ms=NOW_MS if stage is AttemptStage.COMMITTED else None,
        machine=MACHINE,
    )


async def test_what_runs_on_it_waits_again_at_once_and_its_node_is_on_the_list_no_more():
    async with a_play() as play:
        await comes(play, MACHINE)
        await play.commits("one")
        await play.starts("one")
        await loses(play)
        assert play.task("one").state is TaskState.WAITING
        assert play.task("one").attempts[-1].reason == "an operator said so"
        assert await play.recorded_nodes() == {} or play.state_of("a").record.retired
        assert len(play.told("node.removed")) == 1


async def test_what_runs_on_it_waits_again_though_its_node_was_taken_off_the_list_before():
    async with a_play() as play:
        await comes(play, MACHINE)
        await play.commits("one")
        await play.starts("one")
        await play.takes_off("a")
        await loses(play)
        assert play.task("one").state is TaskState.WAITING


@pytest.mark.parametrize("node", [NODE, None])
async def test_what_its_upload_owner_tells_of_after_a_lost_store_waits_for_no_grace(node: NodeId | None):
    async with a_play() as play:
        await play.adopts("one", told_again())
        assert play.task("one").state is TaskState.RUNNING
        await loses(play, node=node)
        assert play.task("one").state is TaskState.WAITING


async def test_an_attempt_that_is_uncertain_after_a_lost_store_waits_for_no_grace():
    async with a_play() as play:
        await play.adopts("one", told_again(AttemptStage.COMMITTING))
        assert play.task("one").state is TaskState.FORWARDING
        await loses(play)
        await play.passes(1)
        assert play.task("one").state is TaskState.WAITING


async def test_a_node_at_the_same_address_that_belongs_to_another_machine_stays():
    async with a_play() as play:
        await comes(play, OTHER)
        await play.commits("one")
        await play.starts("one")
        await loses(play)
        assert play.task("one").state is TaskState.RUNNING
        assert not play.state_of("a").record.retired


async def test_a_node_that_nobody_knows_is_not_found_when_no_machine_is_named():
    async with a_play() as play:
        with pytest.raises(NotFound):
            await loses(play, machine=None)
