"""A record is held against what its upload owner knows, once for each connection to NATS."""

from collections.abc import Callable, Sequence

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import BusFailed, NotFound, Removed
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.tasks import CONFIRM_TASKS, GET_TASK, KnownEnd, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.handlers.finding import TaskFinder
from clusterodm.services.proxy.cluster.ports import Standing
from clusterodm.services.proxy.recovery.handlers.comparing import HOLDER_START_S, SETTLE_S, RecordComparison
from clusterodm.services.proxy.spool.core.history import History, Holding, removed
from clusterodm.services.proxy.spool.core.upload import Draft, Mark, holding
from tests.fake_scheduler import task
from tests.memory_spool import MemorySpool
from tests.proxy_ports import FakeCluster

TASK, OURS = TaskId("t"), TaskId("ours")
NOBODY, OTHER = Owner(""), InstanceId("other")
CANCELED = History(end=KnownEnd(state=TaskState.CANCELED, at_ms=1))
DONE = Holding(is_held=True, is_submitted=True, history=CANCELED)
HELD = Holding(is_held=True, is_submitted=True, history=History())


class FakeHolders:
    """The other proxies, of which one answers what the test says. Implements recovery/ports.Holders."""

    def __init__(self) -> None:
        self.known: Holding | None = HELD
        self.asked: list[tuple[InstanceId, TaskId, Owner | None]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    async def ask(self, proxy: InstanceId, task: TaskId, owner: Owner | None = None) -> Holding | None:
        self.asked.append((proxy, task, owner))
        self.meanwhile()
        return self.known

    async def others(self) -> Sequence[InstanceId]:
        return [OTHER]


class Scene:
    """A proxy beside another one that holds a task."""

    def __init__(self, bus: MemoryBus, spool: MemorySpool, clock: FakeClock) -> None:
        self.bus, self.spool, self.clock = bus, spool, clock
        self.cluster, self.holders = FakeCluster(), FakeHolders()
        self.comparison = RecordComparison(bus, self.cluster, spool, self.holders, clock)

    async def compare(self, record: Task, revision: int = 1) -> Standing:
        return await self.comparison.compare(TaskRecord(task=record, revision=revision), self.comparison.connection)


@pytest.fixture
async def scene() -> Scene:
    bus, clock = MemoryBus(), FakeClock()
    return Scene(bus, MemorySpool(await bus.bucket(UPLOADS), clock), clock)


def of_other(state: TaskState = TaskState.WAITING) -> Task:
    return task(TASK, state, upload_owner=OTHER)


async def test_the_upload_owner_is_asked_once_for_each_connection(scene: Scene):
    assert not scene.comparison.is_compared(TASK)
    assert await scene.compare(of_other()) is Standing.LAST
    assert scene.comparison.is_compared(TASK)
    await scene.compare(of_other())
    assert scene.holders.asked == [(OTHER, TASK, None)]
    scene.bus.connections_count += 1
    assert not scene.comparison.is_compared(TASK), "behind another connection the store may be another, too"
    await scene.compare(of_other())
    scene.cluster.resets_count += 1
    assert not scene.comparison.is_compared(TASK), "a store can be restored under the connection"
    await scene.compare(of_other())
    scene.comparison.forget(TASK)
    assert not scene.comparison.is_compared(TASK)
    assert len(scene.holders.asked) == 3


async def test_a_record_from_before_the_one_that_was_compared_is_compared_too(scene: Scene):
    scene.holders.known = DONE
    assert await scene.compare(of_other(TaskState.CANCELED), 7) is Standing.LAST, "as a scheduler has it in memory"
    assert await scene.compare(of_other(), 3) is Standing.OLDER, "as another one reads it in an older store"
    assert await scene.compare(of_other(TaskState.CANCELED), 8) is Standing.LAST


async def test_what_is_older_is_asked_about_again_until_it_has_been_put_right(scene: Scene):
    scene.holders.known = DONE
    assert await scene.compare(of_other()) is Standing.OLDER
    assert not scene.comparison.is_compared(TASK)
    assert await scene.compare(of_other(TaskState.CANCELED)) is Standing.LAST
    assert scene.comparison.is_compared(TASK)


async def test_what_lies_here_is_compared_here(scene: Scene):
    await scene.spool.create(Draft(task=OURS, name="t", created_at_ms=1, zip_url="http://x/a.zip"))
    await scene.spool.commit(OURS, 2)
    await scene.spool.remember(OURS, CANCELED)
    ours = task(OURS, TaskState.WAITING, upload_owner=scene.spool.instance)
    assert await scene.compare(ours) is Standing.OLDER
    assert scene.holders.asked == []


async def test_who_does_not_answer_is_waited_for_while_it_may_start_with_us(scene: Scene):
    scene.holders.known = None
    assert await scene.compare(of_other()) is Standing.UNSURE
    scene.clock.pass_s(HOLDER_START_S)
    assert await scene.compare(of_other()) is Standing.LAST
    scene.bus.connections_count += 1
    assert await scene.compare(of_other()) is Standing.UNSURE, "the time counts from the connection"


async def test_a_connection_is_new_for_as_long_as_others_may_start_with_us(scene: Scene):
    assert scene.comparison.is_new
    scene.clock.pass_s(HOLDER_START_S)
    assert not scene.comparison.is_new
    scene.bus.connections_count += 1
    assert scene.comparison.is_new


async def test_a_record_of_the_connection_before_is_no_proof(scene: Scene):
    before = scene.comparison.connection

    def reconnected() -> None:
        scene.bus.connections_count += 1

    scene.holders.meanwhile = reconnected
    record = TaskRecord(task=of_other(), revision=1)
    assert await scene.comparison.compare(record, before) is Standing.UNSURE
    assert not scene.comparison.is_compared(TASK)


async def test_a_task_of_nobody_is_asked_about_nowhere(scene: Scene):
    assert await scene.compare(task(TASK, upload_owner=InstanceId(""))) is Standing.LAST
    assert scene.holders.asked == []


@pytest.mark.parametrize(
    ("known", "later_s", "expected"),
    [(HELD, 0, True), (Holding(), 0, False), (None, 0, True), (None, HOLDER_START_S, False), (HELD, SETTLE_S, False)],
    ids=["held", "not held", "may start", "away", "they have all told by then"],
)
async def test_a_task_that_the_scheduler_does_not_know_may_be_held_by_another(
    scene: Scene, known: Holding | None, later_s: float, expected: bool
):
    scene.holders.known = known
    scene.clock.pass_s(later_s)
    assert await scene.comparison.may_be_held(TASK, NOBODY) is expected


async def test_nothing_is_said_of_anothers_task(scene: Scene):
    await scene.spool.create(Draft(task=OURS, name="t", created_at_ms=1, zip_url="http://x/a.zip", owner=Owner("anne")))
    assert holding(scene.spool.find(OURS)) == Holding(), "it was not committed"
    await scene.spool.commit(OURS, 2)
    assert holding(scene.spool.find(OURS)) == Holding(is_held=True)
    await scene.spool.remember(OURS, CANCELED)
    for owner in (None, Owner("anne")):
        assert holding(scene.spool.find(OURS), owner) == DONE
    assert holding(scene.spool.find(OURS), Owner("bert")) == holding(None) == Holding()


# --- polls -----------------------------------------------------------------------------------------------------------


class Polled:
    """A finder over a store that says something else than what was done, until somebody puts it right."""

    def __init__(self, scene: Scene, record: Task) -> None:
        self.scene = scene
        self.store = record
        scene.cluster.put(record)
        self.finder = TaskFinder(scene.bus, scene.cluster, SystemClock(), comparison=scene.comparison)

    async def get(self, _asked: TaskRef) -> TaskRecord:
        return TaskRecord(task=self.store, revision=100)

    def put_right(self, state: TaskState) -> None:
        self.store = of_other(state)
        self.scene.cluster.outdated.add(TASK)


async def polled(scene: Scene, stored: TaskState, known: Holding, after: TaskState) -> tuple[TaskState, int]:
    polling = Polled(scene, of_other(stored))
    scene.holders.known = known

    def meanwhile() -> None:
        if len(scene.holders.asked) == 3:
            polling.put_right(after)
            scene.holders.known = Holding() if after is TaskState.COMPLETED else known

    scene.holders.meanwhile = meanwhile
    async with scene.bus.serve("scheduler", {GET_TASK: polling.get, CONFIRM_TASKS: scene.cluster.confirm}):
        record = await polling.finder.confirmed(await polling.finder.find(TASK, NOBODY, "info"))
    return record.task.state, len(scene.holders.asked)


async def test_canceled_and_restored_as_queued_a_task_is_answered_when_it_is_canceled_again(scene: Scene):
    state, asked_count = await polled(scene, TaskState.WAITING, DONE, TaskState.CANCELED)
    assert state is TaskState.CANCELED
    assert asked_count > 3


async def test_completed_and_restored_as_running_a_task_is_answered_when_it_has_been_found(scene: Scene):
    state, asked_count = await polled(scene, TaskState.RUNNING, Holding(), TaskState.COMPLETED)
    assert state is TaskState.COMPLETED
    assert asked_count > 3


async def test_the_word_of_a_node_counts_though_nothing_is_left_of_a_task_at_its_upload_owner(scene: Scene):
    polling = Polled(scene, of_other(TaskState.RUNNING))
    scene.holders.known = Holding()
    async with scene.bus.serve("scheduler", {GET_TASK: polling.get, CONFIRM_TASKS: scene.cluster.confirm}):
        record = await polling.finder.find(TASK, NOBODY, "info")
        assert (await polling.finder.confirmed(record, seen_on_node=True)).task.state is TaskState.RUNNING


async def test_without_nats_a_poll_is_answered_as_far_as_it_was(scene: Scene):
    polling = Polled(scene, of_other(TaskState.RUNNING))
    scene.bus.connected, scene.bus.away_s = False, 60.0
    scene.clock.pass_s(SETTLE_S)
    record = await polling.finder.find(TASK, NOBODY, "info")
    assert await polling.finder.confirmed(record) is record


async def test_unknown_to_the_scheduler_and_held_by_another_is_not_said_not_to_exist(scene: Scene):
    async def unknown(_asked: TaskRef) -> TaskRecord:
        raise NotFound("no such task")

    async def is_sure(task: TaskId, owner: Owner) -> bool:
        return not await scene.comparison.may_be_held(task, owner)

    finder = TaskFinder(scene.bus, scene.cluster, scene.clock, is_sure=is_sure, comparison=scene.comparison)
    async with scene.bus.serve("scheduler", {GET_TASK: unknown}):
        with pytest.raises(BusFailed):
            await finder.find(TASK, NOBODY, "info")
        scene.holders.known = Holding()
        with pytest.raises(NotFound):
            await finder.find(TASK, NOBODY, "info")
    assert scene.holders.asked[0] == (OTHER, TASK, NOBODY)


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "owner", "listed", "later_s", "expected"),
    [
        pytest.param(NotFound("no such task"), "anne", (), 0, True, id="it is about to be submitted again"),
        pytest.param(NotFound("no such task"), "anne", (OURS,), 0, False, id="it is listed"),
        pytest.param(NotFound("no such task"), "bert", (), 0, False, id="another's"),
        pytest.param(Removed("it was removed"), "anne", (), 0, False, id="removed"),
        pytest.param(None, "anne", (), 0, False, id="committed since the list was made"),
        pytest.param(NotFound("no such task"), "anne", (), SETTLE_S, False, id="all have been submitted again by then"),
    ],
)
async def test_a_list_lacks_what_lies_here_and_is_unknown_to_the_scheduler(
    scene: Scene, known: NotFound | None, owner: str, listed: tuple[TaskId, ...], later_s: float, expected: bool
):
    async def get(_asked: TaskRef) -> TaskRecord:
        if known is not None:
            raise known
        return TaskRecord(task=task(OURS), revision=1)

    await scene.spool.create(Draft(task=OURS, name="t", created_at_ms=1, zip_url="http://x/a.zip", owner=Owner("anne")))
    await scene.spool.commit(OURS, 2)
    assert not await scene.comparison.lacks(Owner("anne"), ()), "the scheduler has not been told of it yet"
    await scene.spool.mark(OURS, Mark.SUBMITTED)
    scene.clock.pass_s(later_s)
    async with scene.bus.serve("scheduler", {GET_TASK: get}):
        assert await scene.comparison.lacks(Owner(owner), listed) is expected


async def test_a_list_does_not_wait_for_what_was_removed_here(scene: Scene):
    await scene.spool.create(Draft(task=OURS, name="t", created_at_ms=1, zip_url="http://x/a.zip", owner=Owner("anne")))
    await scene.spool.commit(OURS, 2)
    await scene.spool.remember(OURS, removed(History(), WallMs(1)))
    assert not await scene.comparison.lacks(Owner("anne"), ())
