"""uploads/handlers and actions.py: how a task comes to be, and what its client does to it later. Over a spool and a bus in memory."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.errors import BusFailed, NotFound, Refused
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.tasks import (
    CANCEL_TASK,
    GET_TASK,
    REMOVE_TASK,
    RESTART_TASK,
    SUBMIT_TASK,
    RestartTask,
    StagedFiles,
    SubmitTask,
    TaskRecord,
    TaskRef,
)
from clusterodm.libs.common.model.nodes import NodeOption, OptionValue
from clusterodm.libs.common.model.tasks import Task, TaskState, Upload
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.tenancy import OptionLimit, OptionRange, ShownToken, Tenant
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.actions import ClientActions
from clusterodm.services.proxy.errors import SpoolFull
from clusterodm.services.proxy.exchange.nodeodm_api import Caller
from clusterodm.services.proxy.spool.core.upload import Manifest, SpooledUpload
from clusterodm.services.proxy.spool.ports import Receipt
from clusterodm.services.proxy.tenants.adapters.local import EverybodyMayCome
from clusterodm.services.proxy.tenants.ports import TokenChecker
from clusterodm.services.proxy.uploads.core import date_created_ms, default_name
from clusterodm.services.proxy.uploads.handlers.create import Check, Commits, UploadPolicy, Uploads
from tests.memory_spool import MemorySpool
from tests.proxy_ports import FakeCluster, FakeForwarding, a_task

TASK = TaskId("11111111-2222-4333-8444-555555555555")
SECOND = "22222222-2222-4333-8444-555555555555"
ANNE = Caller(Owner("anne"), "s3cret", "http://cluster:3000")
BERT = Caller(Owner("bert"), "other", "http://cluster:3000")
DSM = NodeOption(name="dsm", type="bool", value="false", domain="", help="")
SPLIT = NodeOption(name="split", type="int", value="9", domain="positive integer", help="")


@dataclass(frozen=True)
class Intake:
    """How tasks come in."""

    uploads: Uploads
    commits: Commits

    async def complete(self, client: Caller, task: TaskId, form: dict[str, str]) -> TaskId:
        """Commit what came in one request."""
        await self.uploads.describe(client, task, form)
        return await self.commits.commit(client, task)


@dataclass
class World:
    """A proxy's intake, and the scheduler that it submits to."""

    spool: MemorySpool
    bus: MemoryBus
    cluster: FakeCluster = field(default_factory=FakeCluster)
    forwarding: FakeForwarding = field(default_factory=FakeForwarding)
    clock: FakeClock = field(default_factory=FakeClock)
    tasks: dict[TaskId, TaskRecord] = field(default_factory=dict)
    submitted: list[SubmitTask] = field(default_factory=list)
    restarted: list[RestartTask] = field(default_factory=list)
    checker: TokenChecker = field(default_factory=EverybodyMayCome)
    lost_answers_count: int = 0
    """So many submissions are written down, and their answers are lost."""

    def intake(self, **policy: Any) -> Intake:
        chosen, now_ms = UploadPolicy(**policy), self.clock.wall_ms
        return Intake(
            Uploads(self.spool, self.cluster, self.forwarding, chosen, now_ms=now_ms, fresh_id=lambda: TASK),
            Commits(self.spool, self.bus, self.cluster, self.forwarding, chosen, now_ms=now_ms, checker=self.checker),
        )

    async def submit(self, asked: SubmitTask) -> TaskRecord:
        self.submitted.append(asked)
        record = self.tasks.setdefault(asked.task, TaskRecord(task=task_of(asked), revision=len(self.submitted)))
        if self.lost_answers_count:
            self.lost_answers_count -= 1
            raise BusFailed("no answer in time")
        return record

    async def get(self, asked: TaskRef) -> TaskRecord:
        record = self.tasks.get(asked.task)
        if record is None or asked.owner not in {None, record.task.owner}:
            raise NotFound(f"{asked.task} not found")
        return record

    async def cancel(self, asked: TaskRef) -> TaskRecord:
        found = await self.get(asked)
        canceled = msgspec.structs.replace(found.task, state=TaskState.CANCELED)
        self.tasks[asked.task] = TaskRecord(task=canceled, revision=found.revision + 1)
        return self.tasks[asked.task]

    async def remove(self, asked: TaskRef) -> Done:
        await self.get(asked)
        del self.tasks[asked.task]
        return Done()

    async def restart(self, asked: RestartTask) -> TaskRecord:
        self.restarted.append(asked)
        return await self.get(TaskRef(task=asked.task, owner=asked.owner))

    async def sends(self, intake: Intake, *names: str, client: Caller = ANNE, **more: Any) -> None:
        async def read(receipt: Receipt, check: Check) -> None:
            for number, name in enumerate(names):
                (await receipt.open(name)).close()
                check(number + 1, 0)

        await intake.uploads.upload(client, TASK, read, **more)

    async def is_committed(self, intake: Intake, client: Caller = ANNE) -> TaskId:
        task = await intake.uploads.init(client, None, {"name": "field"})
        await self.sends(intake, "a.jpg", client=client)
        return await intake.commits.commit(client, task)


def task_of(asked: SubmitTask) -> Task:
    return Task(
        id=asked.task,
        name=asked.name,
        owner=asked.owner,
        upload_owner=asked.upload_owner,
        created_at_ms=asked.created_at_ms,
        committed_at_ms=1,
        images_count=asked.images_count,
    )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    bus, clock = MemoryBus(), FakeClock()
    made = World(MemorySpool(await bus.bucket(UPLOADS), clock), bus, clock=clock)
    handlers = {
        SUBMIT_TASK: made.submit,
        GET_TASK: made.get,
        CANCEL_TASK: made.cancel,
        REMOVE_TASK: made.remove,
        RESTART_TASK: made.restart,
    }
    async with bus.serve("scheduler", handlers):
        yield made


# --- init, upload, commit ------------------------------------------------------------------------------------------


async def test_a_task_comes_to_be_in_three_steps(world: World) -> None:
    intake = world.intake()
    fields = {"name": "field", "dateCreated": "1600000000000", "webhook": "http://x/y", "skipPostProcessing": "TRUE"}
    task = await intake.uploads.init(ANNE, None, fields)
    await world.sends(intake, "a.jpg", "b.jpg", "gcp.txt")
    assert await intake.commits.commit(ANNE, task) == task
    (asked,) = world.submitted
    assert (asked.task, asked.owner, asked.name, asked.images_count) == (TASK, "anne", "field", 2)
    assert (asked.created_at_ms, asked.skip_post_processing, asked.submodel) == (1_600_000_000_000, True, False)
    assert world.forwarding.adopted == [TASK]
    assert world.forwarding.came == ["a.jpg", "b.jpg", "gcp.txt"]
    assert world.cluster.task(TASK) is not None
    assert world.spool.draft(TASK).webhook == "http://x/y"


@pytest.mark.parametrize("webhook", ["ftp://x/y", "javascript:alert(1)", "http://"])
async def test_a_webhook_that_is_no_web_address_is_refused_at_once(world: World, webhook: str) -> None:
    with pytest.raises(Refused, match="http:// or https://"):
        await world.intake().uploads.init(ANNE, None, {"webhook": webhook})
    assert world.spool.find(TASK) is None


async def test_a_commit_says_what_went_ahead_of_it(world: World) -> None:
    world.forwarding.ahead = StagedFiles(node=NodeId("n1"), node_task_id=NodeTaskId("ahead"))
    await world.is_committed(world.intake())
    assert [asked.ahead for asked in world.submitted] == [world.forwarding.ahead]


async def test_a_commit_sent_again_gets_the_same_answer(world: World) -> None:
    intake = world.intake()
    await world.is_committed(intake)
    assert await intake.commits.commit(ANNE, TASK) == TASK
    await world.spool.discard(TASK)
    assert await intake.commits.commit(ANNE, TASK) == TASK
    assert len(world.tasks) == 1


async def test_another_owner_gets_at_nothing(world: World) -> None:
    intake = world.intake()
    await intake.uploads.init(ANNE, None, {})
    with pytest.raises(NotFound):
        await world.sends(intake, "a.jpg", client=BERT)
    with pytest.raises(NotFound):
        await intake.commits.commit(BERT, TASK)
    await world.sends(intake, "a.jpg")
    await intake.commits.commit(ANNE, TASK)
    await world.spool.discard(TASK)
    with pytest.raises(NotFound):
        await intake.commits.commit(BERT, TASK)


async def test_what_will_not_do_is_refused_at_init(world: World) -> None:
    world.cluster.known_options = (DSM,)
    intake = world.intake(flood_limit_count=1)
    with pytest.raises(Refused, match="Invalid set-uuid"):
        await intake.uploads.init(ANNE, "no-uuid", {})
    with pytest.raises(Refused, match="dsm"):
        await intake.uploads.init(ANNE, None, {"options": '[{"name":"dsm","value":"perhaps"}]'})
    other = "22222222-2222-4333-8444-555555555555"
    await intake.uploads.init(ANNE, other, {})
    with pytest.raises(Refused, match="slow down"):
        await intake.uploads.init(ANNE, None, {})
    await intake.uploads.init(BERT, None, {})
    with pytest.raises(Refused, match="Invalid set-uuid"):
        await intake.uploads.begin(BERT, str(TASK))


async def test_the_id_of_a_known_task_is_taken(world: World) -> None:
    intake = world.intake()
    await world.is_committed(intake)
    await world.spool.discard(TASK)
    with pytest.raises(Refused, match="Invalid set-uuid"):
        await intake.uploads.init(ANNE, str(TASK), {})


@pytest.mark.parametrize("away", [False, True], ids=["answered", "nobody answers"])
async def test_a_commit_of_anothers_upload_is_asked_for_like_one_of_an_unknown_id(world: World, *, away: bool) -> None:
    intake = world.intake()
    await intake.uploads.init(ANNE, None, {})
    await world.sends(intake, "a.jpg")
    world.bus.connected = not away
    told = []
    for task in (TASK, TaskId(SECOND)):
        with pytest.raises((NotFound, BusFailed)) as error:
            await intake.commits.commit(BERT, task)
        told.append((type(error.value), error.value.message.replace(task, "<id>")))
    assert told[0] == told[1]
    assert told[0][0] is (BusFailed if away else NotFound)
    assert not world.submitted


async def opened(world: World, intake: Intake) -> None:
    await intake.uploads.init(ANNE, SECOND, {"name": "hers"})


async def committed(world: World, intake: Intake) -> None:
    world.cluster.put(a_task(TaskId(SECOND), Owner("anne")))


async def ended(world: World, intake: Intake) -> None:
    world.cluster.ended[TaskId(SECOND)] = TaskRecord(task=a_task(TaskId(SECOND), Owner("anne")), revision=1)


async def held_elsewhere(world: World, intake: Intake) -> None:
    theirs = Upload(task=TaskId(SECOND), instance=InstanceId("q"), url="http://q", created_at_ms=1, owner=Owner("anne"))
    await (await world.bus.bucket(UPLOADS)).put(SECOND, theirs)


@pytest.mark.parametrize("exists", [opened, committed, ended, held_elsewhere])
@pytest.mark.parametrize("act", ["init", "begin"])
async def test_a_chosen_id_that_another_has_is_refused_in_the_same_words_whatever_it_is(
    world: World, exists: Callable[[World, Intake], Awaitable[None]], act: str
) -> None:
    intake = world.intake()
    await exists(world, intake)
    before = world.spool.find(TaskId(SECOND)), await (await world.bus.bucket(UPLOADS)).load()
    with pytest.raises(Refused) as error:
        await (intake.uploads.init(BERT, SECOND, {}) if act == "init" else intake.uploads.begin(BERT, SECOND))
    assert error.value.message == f"Invalid set-uuid: {SECOND}"
    assert (world.spool.find(TaskId(SECOND)), await (await world.bus.bucket(UPLOADS)).load()) == before


async def test_a_request_that_is_refused_anyway_tells_nothing_of_its_id(world: World) -> None:
    intake = world.intake(flood_limit_count=1)
    world.cluster.known_options = (DSM,)
    world.cluster.put(a_task(TASK, Owner("anne")))
    bad = {"options": '[{"name":"dsm","value":"perhaps"}]'}
    told = []
    for task in (str(TASK), SECOND):
        with pytest.raises(Refused) as error:
            await intake.uploads.init(BERT, task, bad)
        told.append(error.value.message)
    assert told[0] == told[1]
    await intake.uploads.init(BERT, "33333333-2222-4333-8444-555555555555", {})
    for task in (str(TASK), SECOND):
        with pytest.raises(Refused, match="slow down"):
            await intake.uploads.init(BERT, task, {})
        with pytest.raises(Refused, match="slow down"):
            await intake.uploads.begin(BERT, task)


async def test_who_gives_a_request_up_drops_nothing_of_another(world: World) -> None:
    intake = world.intake()
    await intake.uploads.init(ANNE, None, {})
    await intake.commits.abandon(BERT, TASK)
    assert world.spool.find(TASK) is not None


async def test_a_full_disk_is_said_at_init_and_at_an_upload(world: World) -> None:
    intake = world.intake()
    await intake.uploads.init(ANNE, None, {})
    world.spool.room = False
    with pytest.raises(SpoolFull):
        await world.sends(intake, "a.jpg")
    await world.spool.discard(TASK)
    with pytest.raises(SpoolFull):
        await intake.uploads.init(ANNE, None, {})


async def test_the_last_request_of_an_upload_sends_nothing_ahead(world: World) -> None:
    intake = world.intake()
    await intake.uploads.init(ANNE, None, {})
    await world.sends(intake, "a.jpg", more_follow=False)
    assert world.forwarding.came == []


async def test_a_submodel_is_refused_where_split_merge_is_not_served(world: World) -> None:
    intake = world.intake(splitmerge=False)
    await intake.uploads.init(ANNE, None, {"outputs": "[]"})
    await world.sends(intake, "a.jpg", "seed.zip")
    with pytest.raises(Refused, match="split-merge"):
        await intake.commits.commit(ANNE, TASK)
    assert world.spool.find(TASK) is None


async def test_a_submodel_is_known_by_its_seed_and_outputs(world: World) -> None:
    intake = world.intake()
    await intake.uploads.init(ANNE, None, {"outputs": '["opensfm"]'})
    await world.sends(intake, "a.jpg", "seed.zip")
    await intake.commits.commit(ANNE, TASK)
    assert world.submitted[0].submodel


async def test_split_merge_comes_back_to_this_address_with_this_token(world: World) -> None:
    intake = world.intake()
    await intake.uploads.init(ANNE, None, {"options": '[{"name":"split","value":5}]'})
    assert OptionValue("sm-cluster", "http://cluster:3000/?token=s3cret") in world.spool.draft(TASK).options
    assert "s3cret" not in repr(ANNE)


# --- the bus fails -------------------------------------------------------------------------------------------------


async def test_a_commit_whose_answer_was_lost_is_settled_later(world: World) -> None:
    intake = world.intake()
    world.lost_answers_count = 1
    with pytest.raises(BusFailed):
        await world.is_committed(intake)
    assert world.forwarding.adopted == []
    await intake.commits.settle()
    assert world.forwarding.adopted == [TASK]
    await intake.commits.settle()
    assert world.forwarding.adopted == [TASK]


async def test_a_commit_that_never_arrived_is_kept_for_its_client(world: World) -> None:
    intake = world.intake()
    await intake.uploads.init(ANNE, None, {})
    await world.sends(intake, "a.jpg")
    world.bus.connected = False
    with pytest.raises(BusFailed):
        await intake.commits.commit(ANNE, TASK)
    world.bus.connected = True
    await intake.commits.settle()
    assert world.spool.find(TASK) is not None
    assert await intake.commits.commit(ANNE, TASK) == TASK


async def test_a_commit_waits_a_while_for_the_next_leader(world: World) -> None:
    intake = world.intake(commit_wait_s=30.0)
    world.lost_answers_count = 1
    assert await world.is_committed(intake) == TASK
    assert len(world.submitted) == 2


async def test_one_request_that_fails_in_doubt_is_dropped_once_nobody_knows_it(world: World) -> None:
    intake = world.intake()
    task = await intake.uploads.begin(ANNE, None)
    await world.sends(intake, "a.jpg")
    world.bus.connected = False
    with pytest.raises(BusFailed):
        await intake.complete(ANNE, task, {"name": "one"})
    await intake.commits.abandon(ANNE, task)
    assert world.spool.find(task) is not None
    world.bus.connected = True
    await intake.commits.settle()
    assert world.spool.find(task) is None


async def test_a_task_in_one_request_has_the_fields_that_came_last(world: World) -> None:
    intake = world.intake()
    task = await intake.uploads.begin(ANNE, None)
    await world.sends(intake, "a.jpg")
    await intake.complete(ANNE, task, {"name": "one"})
    assert world.submitted[0].name == "one"


async def test_a_request_that_failed_without_doubt_leaves_nothing(world: World) -> None:
    intake = world.intake()
    task = await intake.uploads.begin(ANNE, None)
    await intake.commits.abandon(ANNE, task)
    assert world.spool.find(task) is None


@pytest.mark.parametrize(
    ("text", "read"),
    [
        pytest.param("1600000000000", 1_600_000_000_000, id="a date"),
        pytest.param("", 5, id="none"),
        pytest.param("yesterday", 5, id="no number"),
        pytest.param("-1", 5, id="negative"),
    ],
)
def test_the_clients_date_counts_when_it_is_one(text: str, read: int) -> None:
    assert date_created_ms(text, 1_700_000_000_000 if text.startswith("16") else 5) == read


def test_a_task_without_a_name_is_called_by_its_date() -> None:
    assert default_name(0) == "Task of 1970-01-01T00:00:00.000Z"


# --- cancel, remove, restart ---------------------------------------------------------------------------------------


async def act(world: World, verb: str, client: Caller = ANNE, **form: str) -> None:
    actions = ClientActions(world.bus, world.cluster, splitmerge=True)
    await actions.act(verb, form, client)


async def test_what_was_done_shows_in_the_mirror_at_once(world: World) -> None:
    await world.is_committed(world.intake())
    await act(world, "cancel", uuid=TASK)
    record = world.cluster.task(TASK)
    assert record is not None
    assert record.task.state is TaskState.CANCELED
    await act(world, "remove", uuid=TASK)
    assert world.cluster.task(TASK) is None


async def test_a_restart_takes_checked_options(world: World) -> None:
    world.cluster.known_options = (DSM, SPLIT)
    await world.is_committed(world.intake())
    await act(world, "restart", uuid=TASK, options='[{"name":"dsm","value":true}]')
    await act(world, "restart", uuid=TASK)
    assert [asked.options for asked in world.restarted] == [(OptionValue("dsm", True),), None]
    with pytest.raises(Refused, match="split"):
        await act(world, "restart", uuid=TASK, options='[{"name":"split","value":"x"}]')


@pytest.mark.parametrize("verb", ["cancel", "remove", "restart"])
async def test_an_unknown_task_and_anothers_are_not_told_apart(world: World, verb: str) -> None:
    await world.is_committed(world.intake())
    with pytest.raises(NotFound, match=f"Invalid route for taskId {TASK}, no nodes in routing table"):
        await act(world, verb, BERT, uuid=TASK)
    with pytest.raises(NotFound, match="Invalid route for taskId nothing"):
        await act(world, verb, uuid="nothing")
    with pytest.raises(Refused, match=f"No uuid found in /task/{verb}"):
        await act(world, verb)


# --- tenants -------------------------------------------------------------------------------------------------------


def limited(**limits: Any) -> Caller:
    """Name a client with limits."""
    return Caller(Owner("anne"), "s3cret", "http://cluster:3000", Tenant(name="anne", **limits))


async def stored(world: World, intake: Intake, client: Caller, count: int) -> TaskId:
    """Begin a task and upload so many images to it."""
    task = await intake.uploads.init(client, None, {})
    numbers = iter(range(count))

    async def read(receipt: Receipt, check: Check) -> None:
        part = await receipt.open(f"{next(numbers)}.jpg")
        part.write(b"12345")
        part.close()
        check(1, 5)

    for _ in range(count):
        await intake.uploads.upload(client, task, read)
    return task


async def never(*_: object) -> None:
    """Read a request that is refused before."""
    raise AssertionError("it was read")


async def test_a_task_of_more_images_than_its_tenant_may_send_is_refused_at_the_upload(world: World) -> None:
    intake, client = world.intake(), limited(max_images_count=2)
    with pytest.raises(Refused, match=r"Max images count exceeded\. \(limit 2\)"):
        await stored(world, intake, client, 3)
    assert await intake.commits.commit(client, TASK) == TASK
    assert world.submitted[0].images_count == 2


@pytest.mark.parametrize(
    ("limits", "files_count", "body_bytes"),
    [
        pytest.param({"max_images_count": 100}, 101, 10_000, id="images"),
        pytest.param({"max_task_bytes": 5_000_000}, 1, 6_100_000, id="bytes of a task"),
        pytest.param({"storage_bytes": 5_000_000}, 1, 6_100_000, id="bytes of all tasks"),
    ],
)
async def test_a_request_that_does_not_say_how_much_it_brings_is_refused_as_soon_as_it_is_too_much(
    world: World, limits: dict[str, int], files_count: int, body_bytes: int
) -> None:
    intake, client = world.intake(), limited(**limits)
    task = await intake.uploads.init(client, None, {})
    refused: list[tuple[int, int]] = []

    async def read(receipt: Receipt, check: Check) -> None:
        (await receipt.open("a.jpg")).close()
        for came in ((files_count - 1, body_bytes - 200_000), (files_count, body_bytes), (10**6, 10**9)):
            refused.append(came)
            check(*came)

    with pytest.raises(Refused):
        await intake.uploads.upload(client, task, read)
    assert refused[-1] == (files_count, body_bytes)
    assert not world.spool.entries[task].files


async def test_a_task_that_is_too_large_is_refused_before_it_is_read_and_at_its_commit(world: World) -> None:
    intake, client = world.intake(), limited(max_task_bytes=12)
    with pytest.raises(Refused, match="larger than yours may be"):
        await intake.uploads.upload(client, await stored(world, intake, client, 1), never, expected_bytes=10_000_000)
    await stored(world, intake, client, 3)
    with pytest.raises(Refused, match=r"limit 12 bytes"):
        await intake.commits.commit(client, TASK)
    assert world.spool.find(TASK) is None
    assert not world.submitted


async def test_a_tenant_whose_files_take_all_its_room_begins_nothing_more(world: World) -> None:
    intake, client = world.intake(), limited(storage_bytes=12)
    await stored(world, intake, client, 2)
    await intake.commits.commit(client, TASK)
    with pytest.raises(Refused, match="wait until tasks have finished"):
        await intake.uploads.upload(client, TASK, never, expected_bytes=2_000_000)
    await intake.uploads.init(limited(storage_bytes=1_000), "22222222-2222-4333-8444-555555555555", {})
    with pytest.raises(Refused, match="10 bytes of 10 bytes"):
        await intake.uploads.init(limited(storage_bytes=10), "33333333-2222-4333-8444-555555555555", {})


class WalkedSpool(MemorySpool):
    """Counts what lists its entries or its files."""

    walks_count = 0

    def held(self) -> Sequence[SpooledUpload]:
        self.walks_count += 1
        return super().held()

    async def manifest(self, task: TaskId) -> Manifest:
        self.walks_count += 1
        return await super().manifest(task)


async def test_no_request_of_a_tenant_with_limits_walks_the_spool(world: World) -> None:
    spool = WalkedSpool(await world.bus.bucket(UPLOADS), world.clock)
    intake = replace(world, spool=spool).intake()
    client = limited(storage_bytes=1_000, max_images_count=10, max_task_bytes=1_000)
    await stored(world, intake, client, 3)
    await intake.commits.commit(client, TASK)
    assert spool.walks_count == 0


async def test_room_is_there_again_once_a_task_is_gone(world: World) -> None:
    intake, client = world.intake(), limited(storage_bytes=10)
    await stored(world, intake, client, 2)
    with pytest.raises(Refused, match="10 bytes of 10 bytes"):
        await intake.uploads.init(client, SECOND, {})
    await world.spool.discard(TASK)
    await intake.uploads.init(client, SECOND, {})


async def test_what_another_proxy_keeps_of_a_tenant_counts_while_its_task_is_active(world: World) -> None:
    intake, client = world.intake(), limited(storage_bytes=10)
    elsewhere = msgspec.structs.replace(
        a_task(TASK, Owner("anne"), size_bytes=10, inputs_kept=True), upload_owner=InstanceId("q")
    )
    world.cluster.put(elsewhere)
    with pytest.raises(Refused, match="10 bytes of 10 bytes"):
        await intake.uploads.init(client, SECOND, {})
    world.cluster.put(msgspec.structs.replace(elsewhere, inputs_kept=False))
    await intake.uploads.init(client, SECOND, {})


async def test_options_outside_of_a_tenants_limits_are_refused_and_those_inside_are_brought_in(world: World) -> None:
    world.cluster.known_options = (DSM, SPLIT)
    limits = {
        "split": OptionLimit(domain="integer <= 50", between=OptionRange(min=10, max=40)),
        "dsm": OptionLimit(value=True, assure=True),
    }
    client = limited(options=limits)
    with pytest.raises(Refused, match="out of range"):
        await world.intake().uploads.init(client, None, {"options": '[{"name":"split","value":60}]'})
    await world.intake().uploads.init(client, None, {"options": '[{"name":"split","value":45}]'})
    options = {option.name: option.value for option in world.spool.draft(TASK).options}
    assert options["split"] == 40
    assert options["dsm"] is True


class Judge(EverybodyMayCome):
    """Approves of small tasks."""

    is_told = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def approve(self, token: ShownToken, images_count: int) -> None:
        """Say no to what is large."""
        self.asked.append((token.text, images_count))
        if images_count > 1:
            raise Refused("Not enough credits")


async def test_who_checks_tokens_may_refuse_a_task_and_then_its_upload_goes(world: World) -> None:
    judge = Judge()
    intake = replace(world, checker=judge).intake()
    await stored(world, intake, ANNE, 2)
    with pytest.raises(Refused, match="Not enough credits"):
        await intake.commits.commit(ANNE, TASK)
    assert judge.asked == [("s3cret", 2)]
    assert world.spool.find(TASK) is None
    await stored(world, intake, ANNE, 1)
    assert await intake.commits.commit(ANNE, TASK) == TASK
    assert await intake.commits.commit(ANNE, TASK) == TASK
    assert len(judge.asked) == 2
