"""The account of usage, told as a play: nothing counts twice, whatever restarts, is replayed or is taken over."""

import asyncio

import pytest

from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.common.messages.buckets import MACHINE_SPANS, USAGE
from clusterodm.libs.common.messages.nodes import AddNode
from clusterodm.libs.common.messages.tasks import KnownEnd
from clusterodm.libs.common.messages.tenants import SetTenants, TenantShare
from clusterodm.libs.common.messages.usage import GetUsage, TenantUsage, UsageBy, UsageRow, Used
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import MachineId, Owner, TaskId
from clusterodm.libs.common.testing.memory_bucket import MemoryBucket
from clusterodm.services.scheduler.metrics import ATTEMPTS_ENDED, TASK_EVENTS, TASKS_ENDED, TENANT_TASKS
from clusterodm.services.scheduler.usage.handlers import UsageAccount
from tests.scheduling import FakeNode, Play, a_play, task_id

SURVEY = Owner("survey")


class Unanswered(MemoryBucket[TenantUsage]):
    """A bucket whose first write is done, and not answered."""

    answers = False

    async def create(self, key: str, value: TenantUsage) -> int:
        """Write a key that must not exist."""
        revision = await super().create(key, value)
        if not self.answers:
            self.answers = True
            raise BusFailed("no answer")
        return revision


async def refuse(_task: TaskId) -> None:
    """Play an account that cannot be written."""
    raise BusFailed("nats is away")


async def used(play: Play, by: UsageBy = UsageBy.TOTAL) -> dict[str, Used]:
    """Ask what tenants have used."""
    rows: tuple[UsageRow, ...] = (await play.scheduler.usage.get(GetUsage(by=by))).rows
    return {row.tenant: row.used for row in rows}


async def runs(play: Play, name: str, seconds: float = 10.0, **more: object) -> None:
    """Commit a task, and let it run to its end."""
    await play.commits(name, images=5, owner=SURVEY, size_bytes=100, **more)
    await play.starts(name)
    await ends(play, name, seconds)


async def ends(play: Play, name: str, seconds: float = 10.0) -> None:
    """Let a task that runs complete after a while."""
    play.clock.pass_s(seconds)
    last = play.task(name).attempts[-1]
    play.node(last.node_name.partition(":")[0]).finishes(last.node_task_id)
    play.node(last.node_name.partition(":")[0]).says(last.node_task_id, processing_time_ms=-1)
    await play.looks()


async def rents(play: Play, name: str, *, slots: int = 1, price: float = 3600.0) -> None:
    """Register the node of a machine."""
    play.api.nodes[name] = FakeNode(slots=slots)
    asked = AddNode(hostname=name, port=3000, machine=MachineId(name), price_per_hour=price)
    await play.scheduler.nodes.commands.add(asked)
    await play.probes()


async def test_what_a_task_has_used_is_its_tenants():
    async with a_play(a=FakeNode()) as play:
        share = TenantShare(owner=SURVEY, name="the-survey")
        await play.scheduler.placement.tenants.set_tenants(SetTenants(tenants=(share,)))
        before = TENANT_TASKS.values.get(("the-survey", "completed"), 0)
        await runs(play, "one")
        await play.commits("other")
        await play.cancels("other")
        assert await used(play) == {
            "the-survey": Used(completed_count=1, images_count=5, size_bytes=100, node_ms=10_000),
            "": Used(canceled_count=1),
        }
        assert TENANT_TASKS.values["the-survey", "completed"] == before + 1


async def test_a_scheduler_that_starts_again_counts_nothing_twice():
    async with a_play(a=FakeNode()) as play:
        await runs(play, "one")
        assert (await used(play))["survey"].tasks_count == 1
        await play.starts_up()
        assert (await used(play))["survey"].tasks_count == 1


async def test_what_ended_just_before_the_scheduler_died_is_counted_by_the_next():
    async with a_play(a=FakeNode()) as play:
        await runs(play, "one")
        await play.starts_up()
        assert (await used(play))["survey"].tasks_count == 1


async def test_a_write_without_an_answer_counts_once():
    async with a_play(a=FakeNode()) as play:
        bucket = Unanswered(play.bus, USAGE)
        account = UsageAccount(play.scheduler.records, bucket, await play.bus.bucket(MACHINE_SPANS), lambda _: "")
        await runs(play, "one")
        with pytest.raises(BusFailed):
            await account.count()
        assert (await account.get(GetUsage())).total.tasks_count == 1


async def test_two_schedulers_count_a_task_once():
    async with a_play(a=FakeNode()) as play:
        other = UsageAccount(
            play.scheduler.records, await play.bus.bucket(USAGE), await play.bus.bucket(MACHINE_SPANS), lambda _: ""
        )
        await runs(play, "one")
        await runs(play, "two")
        await asyncio.gather(play.scheduler.usage.count(), other.count())
        assert (await used(play))["survey"].tasks_count == 2


async def test_what_is_in_the_archive_counts_once_though_it_is_brought_back():
    async with a_play(a=FakeNode()) as play:
        await runs(play, "one")
        await play.archives()
        await runs(play, "two")
        await used(play)
        await play.cancels("one")
        assert play.task("one").state is TaskState.CANCELED
        await play.starts_up()
        assert (await used(play))["survey"] == Used(completed_count=2, images_count=10, size_bytes=200, node_ms=20_000)


@pytest.mark.parametrize("archived", [False, True])
async def test_a_task_that_runs_again_counts_again(archived: bool):
    async with a_play(a=FakeNode()) as play:
        await runs(play, "one")
        if archived:
            await play.archives()
        await play.passes(1)
        await play.restarts("one")
        await ends(play, "one", 5)
        await play.starts_up()
        assert (await used(play))["survey"] == Used(completed_count=2, images_count=10, size_bytes=200, node_ms=15_000)


async def test_a_task_leaves_no_place_where_it_is_counted_before_it_is():
    async with a_play(a=FakeNode()) as play:
        await runs(play, "one")
        departures = play.scheduler.records.signals.departures
        departures.append(refuse)
        for leave in (play.removes("one"), play.restarts("one")):
            with pytest.raises(ClusterError):
                await leave
        assert play.has("one")
        departures.remove(refuse)
        await play.passes(1)
        assert not play.has("one")
        assert (await used(play))["survey"].tasks_count == 1


async def test_nothing_is_kept_in_memory_of_what_is_archived():
    async with a_play() as play:
        await rents(play, "m")
        await runs(play, "one")
        await play.archives()
        assert not play.has("one")
        account = play.scheduler.usage
        assert not account._ended
        assert not account._pending
        assert not account._on_machine


async def test_a_machine_costs_the_tasks_that_were_on_it_and_its_idle_time_costs_nobody():
    async with a_play() as play:
        await rents(play, "m")
        play.clock.pass_s(100)
        await runs(play, "one", 10)
        play.clock.pass_s(100)
        assert (await used(play))["survey"].machine_cost == pytest.approx(10.0)


async def test_two_tasks_on_a_machine_share_its_time_however_late_they_are_counted():
    async with a_play() as play:
        await rents(play, "m", slots=2)
        await play.commits("long", owner=Owner("a"))
        await play.starts("long")
        play.clock.pass_s(10)
        await play.commits("short", owner=Owner("b"))
        await play.starts("short")
        await ends(play, "short", 20)
        await play.archives()
        assert not play.has("short")
        await play.starts_up()
        await play.probes()
        rest_s = (play.now_ms - (play.task("long").attempts[-1].running_at_ms or 0)) / 1000 - 30
        await ends(play, "long", 5)
        costs = {tenant: of.machine_cost for tenant, of in (await used(play)).items()}
        assert costs == {"a": pytest.approx(10 + 10 + rest_s + 5, abs=0.01), "b": pytest.approx(10, abs=0.01)}
        await play.archives()


async def test_spans_are_kept_no_longer_than_somebody_shares_them():
    async with a_play() as play:
        await rents(play, "m", slots=2)
        for first, second in (("one", "two"), ("three", "four"), ("five", "six")):
            for name in (first, second):
                await play.commits(name, owner=SURVEY)
                await play.starts(name)
            await ends(play, first)
            await play.scheduler.usage.count()
            await ends(play, second)
            await play.archives()
        entry = await (await play.bus.bucket(MACHINE_SPANS)).get("m")
        assert entry is not None
        assert len(entry.value.spans) == 1


async def test_all_of_a_tenant_are_counted_in_one_write():
    async with a_play(a=FakeNode(slots=20)) as play:
        for number in range(20):
            await play.commits(str(number), owner=SURVEY)
            await play.starts(str(number))
        for number in range(20):
            await ends(play, str(number), 0)
        await play.scheduler.usage.count()
        entry = await (await play.bus.bucket(USAGE)).get("survey.2023-11")
        assert entry is not None
        assert entry.revision == 1
        assert entry.value.days["14"].completed_count == 20
        assert task_id("0") not in str(entry.value)


async def test_a_lost_store_takes_the_account_with_it_and_what_ends_since_counts():
    async with a_play(a=FakeNode()) as play:
        await runs(play, "one")
        await used(play)
        await play.loses_the_store()
        assert await used(play) == {}
        await play.adopts("two", end=KnownEnd(state=TaskState.FAILED, at_ms=play.now_ms))
        assert await used(play) == {"": Used(failed_count=1)}


# --- what else counts ends ---------------------------------------------------------------------------------------------


def counted() -> dict[str, float]:
    """Say what the metrics have counted until now."""
    return {
        "tasks": TASKS_ENDED.values.get(("canceled",), 0),
        "of tenants": sum(count for labels, count in TENANT_TASKS.values.items() if labels[1] == "canceled"),
        "events": TASK_EVENTS.values.get(("task.finished",), 0),
        "attempts": ATTEMPTS_ENDED.values.get(("canceled",), 0),
        "all attempts": sum(ATTEMPTS_ENDED.values.values()),
    }


def since(before: dict[str, float]) -> dict[str, float]:
    """Say what they have counted since."""
    return {name: count - before[name] for name, count in counted().items()}


ONE = {"tasks": 1, "of tenants": 1, "events": 1, "attempts": 1, "all attempts": 1}
NO_ATTEMPT = {**ONE, "attempts": 0, "all attempts": 0}


@pytest.mark.parametrize("how", ["removes", "cancels"])
@pytest.mark.parametrize(
    ("until", "expected"),
    [
        pytest.param("waiting", NO_ATTEMPT, id="waiting"),
        pytest.param("forwarding", ONE, id="forwarding"),
        pytest.param("running", ONE, id="running"),
        pytest.param("started over", NO_ATTEMPT, id="an earlier attempt of it was canceled"),
    ],
)
async def test_a_task_that_is_canceled_or_removed_before_its_end_counts_as_canceled_everywhere(
    how: str, until: str, expected: dict[str, float]
):
    async with a_play(a=FakeNode()) as play:
        await play.commits("one", owner=SURVEY)
        if until == "forwarding":
            await play.is_placed("one")
        elif until == "running":
            await play.starts("one")
        elif until == "started over":
            await play.is_placed("one")
            await play.cancels("one")
            await play.restarts("one")
            assert play.task("one").state is TaskState.WAITING
        await play.scheduler.usage.count()
        before, told = counted(), len(play.told("task.finished"))
        await getattr(play, how)("one")
        await play.scheduler.usage.count()
        assert since(before) == expected
        assert [event.state for event in play.told("task.finished")[told:]] == [TaskState.CANCELED]


async def test_what_is_removed_after_its_end_or_once_more_counts_no_second_time():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one", owner=SURVEY)
        await play.starts("one")
        await play.cancels("one")
        await play.scheduler.usage.count()
        before = counted()
        await play.removes("one")
        await play.scheduler.usage.count()
        assert since(before) == dict.fromkeys(ONE, 0)


async def test_a_task_that_is_removed_while_it_runs_has_used_its_node_until_then():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one", owner=SURVEY)
        await play.starts("one")
        play.clock.pass_s(20)
        await play.removes("one")
        assert (await used(play))[SURVEY].node_ms == 20_000


async def test_an_end_that_only_the_upload_owner_knew_counts_everywhere():
    async with a_play(a=FakeNode()) as play:
        before = counted()
        await play.adopts("one", end=KnownEnd(state=TaskState.CANCELED, at_ms=play.now_ms))
        await play.scheduler.usage.count()
        assert since(before) == NO_ATTEMPT
